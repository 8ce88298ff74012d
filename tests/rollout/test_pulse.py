"""What counts as progress of an engine core, and what an engine says of its groups."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from rollout.engine.pulse import GroupAtWork, Work, any_stopped, describe_groups


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        ((3, 0, (2, 1, 0.5)), True),  # tokens were made
        ((0, 7, (2, 1, 0.5)), True),  # a prompt was read to its end
        ((0, 0, (2, 1, 0.6)), True),  # part of a long prompt was read: the cache fills
        ((0, 0, (3, 0, 0.5)), True),  # a request began
        ((0, 0, (1, 1, 0.5)), True),  # a request was aborted
        ((0, 0, (2, 1, 0.5)), False),  # the core turns in circles
    ],
)
def test_a_step_counts_if_it_did_something(step: tuple[int, int, tuple[int, int, float]], counts: bool):
    work = Work(tokens=5, steps=9, queue=(2, 1, 0.5))
    work.step(*step)
    assert (work.steps, work.tokens) == (9 + counts, 5 + step[0])


def test_groups_are_counted_by_what_they_wait_for_and_the_oldest_is_named():
    now = time.monotonic()
    groups = [
        GroupAtWork(4, evaluated=False, since=now - 2, tokens=9),
        GroupAtWork(3, evaluated=False, since=now - 5, tokens=7, scoring=True),
        GroupAtWork(3, evaluated=True, since=now - 1),
    ]
    told = describe_groups(groups)
    assert (told["generating"], told["scoring"]) == (2, 1)
    number, age, tokens = told["slowest"]
    assert (number, tokens) == (3, 7)
    assert age == pytest.approx(5, abs=1)
    assert describe_groups([]) == {"generating": 0, "answering": 0, "scoring": 0, "slowest": None}


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_stopped_process_is_seen_and_one_that_has_ended_is_not(sleeper: subprocess.Popen[bytes]):
    assert not any_stopped([sleeper.pid])
    sleeper.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while not any_stopped([sleeper.pid]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert any_stopped([os.getpid()]), "a child counts as well: an engine of several GPUs has workers"
    sleeper.kill()
    sleeper.wait()
    assert not any_stopped([sleeper.pid])
