"""Whom to blame when members of an exchange fail, and how the others leave it."""

import asyncio
from typing import Any

import pytest
import ray

from benchmarks.faults.clock import run_virtually
from cluster.publish.blame import NOTICE_S, Failure, culprits, exchanged, last_line


class EngineDeadError(Exception):
    """Named as the error of a vLLM front whose engine process is gone."""


def failure(who: str, when: float, error: Exception | None = None, *, late: bool = False) -> Failure:
    return Failure(who=who, error=error or RuntimeError("connection closed by peer"), late=late, at=when)


def test_the_dead_are_blamed_before_the_late_and_the_late_before_the_first_to_break_off():
    dead = failure("dead", 9.0, ray.exceptions.RayActorError())
    gone = failure("gone", 8.0, EngineDeadError())
    late = failure("late", 7.0, late=True)
    second, first = failure("second", 2.0), failure("first", 1.0)
    assert culprits([second, first, late, dead, gone]) == [dead, gone]
    assert culprits([second, first, late]) == [late]
    assert culprits([second, first]) == [first]
    assert culprits([]) == []


def test_a_remote_error_is_told_in_the_line_that_says_what_was_raised():
    assert last_line(RuntimeError("Traceback:\n  File x\n\nValueError: bad shape\n")) == "ValueError: bad shape"
    assert last_line(ValueError()) == "ValueError"


@pytest.mark.parametrize(("fails", "told"), [(True, 1), (False, 0)])
def test_the_others_are_called_back_once_and_only_if_they_do_not_leave_by_themselves(fails: bool, told: int) -> None:
    async def run() -> tuple[list[Any], int]:
        back, called = asyncio.Event(), 0

        async def call_back() -> None:
            nonlocal called
            called += 1
            back.set()

        async def member(seconds: float) -> Any:
            await asyncio.sleep(seconds)
            return failure("broken", 0.0) if seconds < 1 else "never"

        async def waiting() -> str:
            if fails:
                await back.wait()
            else:
                await asyncio.sleep(NOTICE_S / 2)  # as gloo does, which hears of a closed connection
            return "left"

        found = await exchanged([member(0.1), member(0.15), waiting()], call_back)
        return found, called

    (found, called), seconds = run_virtually(run)
    assert [type(one) for one in found] == [Failure, Failure, str]
    assert called == told
    assert seconds < 1
