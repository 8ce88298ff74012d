"""Which members of a failed exchange to blame.

A failed member makes the healthy ones abort too. Burying them all would end a run that has healthy engines left, so blame goes to those
that died, else to those that never answered, else to the first to abort.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.actors.died import has_died
from cluster.causes.roles import RoleLate
from cluster.causes.tracebacks import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One member's failure at one stage."""

    who: Any  # the caller's own name or handle of the member
    error: BaseException
    late: bool  # it never answered
    at: float  # on the monotonic clock

    @property
    def died(self) -> bool:
        return has_died(self.error)


async def answer(who: Any, call: Awaitable[Any], deadline_s: float | None = None) -> Any:
    """What `call` returns, or the Failure of `who` if it raises or is late. Without `deadline_s` the call needs its own deadline."""
    asked = asyncio.ensure_future(call)
    try:
        await asyncio.wait([asked], timeout=deadline_s)
        if not asked.done():
            return Failure(who=who, error=TimeoutError(f"no answer within {deadline_s:g} s"), late=True, at=time.monotonic())
    finally:
        asked.cancel()
    error = asked.exception()
    if error is None:
        return asked.result()
    # Ray gives remote errors a class that also derives from the cause's, so a remote TimeoutError is not exactly one.
    return Failure(who=who, error=error, late=type(error) in (TimeoutError, RoleLate), at=time.monotonic())


async def until_one_aborts(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """What `answer` returns for each member, in order; once one has aborted, only for the members that have answered by then.

    Members that are late together reach their deadlines together, so it waits for all of them and all can be named.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(isinstance(found := task.result(), Failure) and not found.late for task in done):
                break
        return [task.result() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()


def culprits(failures: Sequence[Failure]) -> list[Failure]:
    """The failures that caused the other failures, among members that waited for each other."""
    if died := [failure for failure in failures if failure.died]:
        return died
    if late := [failure for failure in failures if failure.late]:
        return late
    return sorted(failures, key=lambda failure: failure.at)[:1]


def last_line(error: BaseException) -> str:
    """The error in one line: Ray wraps a remote traceback, whose last line is the error itself."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    # After its first sentence Ray lists everything that may have killed a process.
    return one_line(lines[-1].partition(" Worker exit type:")[0], 200) if lines else type(error).__name__
