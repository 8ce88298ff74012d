"""The group of a transfer over NCCL, in processes that are killed: nobody waits for a dead member once the exchange is called back."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from rollout.transfer import recall
from rollout.transfer.recall import call_back
from tests.toys.nccl_members import Members

SOON_S = 5.0


def waited(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold soon."""
    until = time.monotonic() + SOON_S
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


@pytest.fixture
def members() -> Iterator[Callable[..., Members]]:
    """Makes groups, whose processes end with the test."""
    made: list[Members] = []

    def make(*args: object, **settings: object) -> Members:
        made.append(Members(*args, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for group in made:
        group.end()


def test_every_member_gets_every_chunk(members: Callable[..., Members]) -> None:
    group = members(3)
    group.start(0, 1, 2)
    assert [[group.hear(rank), group.hear(rank)] for rank in range(3)] == [["joined", "received"]] * 3


def test_members_that_wait_for_one_that_never_joins_wait_until_they_are_called_back(members: Callable[..., Members]) -> None:
    group = members(3)
    group.start(0, 1)
    time.sleep(0.3)
    assert all(group.said[rank].empty() for rank in (0, 1))
    call_back(group.meeting)
    for rank in (0, 1):
        assert group.hear(rank, SOON_S).startswith("CalledBack: waited for the other members to join: the publish was called back")


@pytest.mark.parametrize(("deaths", "joined"), [("2:join:1", 0), ("2:transfer:0", 1), ("2:join:1!", 0), ("2:transfer:0!", 1)])
def test_members_stuck_in_nccl_with_a_dead_or_stopped_one_wait_for_ever_and_return_once_they_are_called_back(
    members: Callable[..., Members], deaths: str, joined: int
) -> None:
    group = members(3, deaths=deaths)
    group.start(0, 1, 2)
    for rank in (0, 1):
        assert [group.hear(rank) for _ in range(joined)] == ["joined"] * joined
    lost = psutil.Process(group.processes[2].pid)
    assert waited(lambda: lost.status() == (psutil.STATUS_STOPPED if "!" in deaths else psutil.STATUS_ZOMBIE))
    time.sleep(0.3)
    assert all(group.said[rank].empty() for rank in (0, 1)), "NCCL hears of no death"
    call_back(group.meeting)
    for rank in (0, 1):
        assert group.hear(rank, SOON_S) == "CalledBack: the publish was called back, as another member is lost"


def test_a_member_that_nobody_calls_back_gives_up_at_its_deadline(members: Callable[..., Members]) -> None:
    group = members(3, deadline_s=0.8, deaths="2:join:1")
    group.start(0, 1, 2)
    for rank in (0, 1):
        assert group.hear(rank, SOON_S) == "CalledBack: no end within 0.8 s"


def test_members_give_up_at_once_when_the_first_rank_dies_whose_store_they_ask(members: Callable[..., Members]) -> None:
    group = members(3, deaths="0:transfer:0")
    group.start(0, 1, 2)
    for rank in (1, 2):
        assert group.hear(rank) == "joined"
        assert group.hear(rank, SOON_S).startswith("CalledBack: the store of 'publish-1' is gone, and with it the learner's first rank")


@pytest.mark.parametrize(("deaths", "joined"), [("0:join:1!", 0), ("0:transfer:0!", 1)])
def test_members_give_up_when_the_store_of_a_stopped_first_rank_is_silent(
    members: Callable[..., Members], monkeypatch: pytest.MonkeyPatch, deaths: str, joined: int
) -> None:
    monkeypatch.setattr(recall, "SILENT_S", 0.5)
    group = members(3, deaths=deaths)
    group.start(1, 2)
    time.sleep(0.3)  # they reach its store before it stops: who reaches a stopped one waits for longer
    group.start(0)
    for rank in (1, 2):
        assert [group.hear(rank) for _ in range(joined)] == ["joined"] * joined
        assert group.hear(rank, SOON_S).endswith("and with it the learner's first rank (no answer for 0.5 s)")


def test_a_member_whose_first_rank_died_before_it_came_is_refused_at_once(members: Callable[..., Members]) -> None:
    group = members(2)
    group.start(0)
    time.sleep(0.3)
    os.kill(group.processes[0].pid, signal.SIGKILL)
    group.processes[0].join()
    group.start(1)
    assert group.hear(1, SOON_S).startswith("ConnectionRefusedError")
