"""Ranks that die or stop: noticed while they work and while they wait, counted, and told apart from ranks that raise."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from cluster.actors.learners import Learners
from cluster.causes.cause import find_cause
from cluster.causes.lost import lost_rank
from cluster.causes.roles import RankLost, Role, RoleFailed, RoleLate
from cluster.loop.attempts import Attempts, Place
from cluster.publish.publisher import LearnerFailed
from cluster.record.checkpoint import Position
from tests.toys.publish import ToyActor, kill
from tests.toys.run import run_config

STALL_S = 0.05
RANK, ENGINE = Role("learner rank 1", Path("learner-1.log")), Role("engine 1", Path("engine-1.log"))


class ToyRank:
    """A rank that works for a while and answers pings meanwhile."""

    def __init__(self, faults: dict[str, str]) -> None:
        self.faults, self.calls = faults, list[str]()

    async def ping(self) -> None:
        pass

    async def address(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    async def start(self, host: str, port: int) -> str:
        return host

    async def step(self) -> str:
        await asyncio.sleep(4 * STALL_S)
        return "stepped"


def ranks(*faults: dict[str, str]) -> tuple[Learners, list[ToyActor]]:
    actors = [ToyActor(ToyRank(of_rank)) for of_rank in faults]
    config = run_config(Path("run"), run={"deadline_s": 5}, learner={"stall_s": STALL_S})
    return Learners(config, actors, spawn=lambda: [ToyActor(ToyRank({})) for _ in actors], kill=kill), actors


def watched(learners: Learners, work: Awaitable[Any]) -> Any:
    """What `work` returns while the ranks are watched."""

    async def run() -> Any:
        watching = asyncio.ensure_future(learners.watch())
        try:
            return await work
        finally:
            watching.cancel()

    return asyncio.run(run())


def test_ranks_that_work_longer_than_a_stall_are_not_lost() -> None:
    learners, _ = ranks({}, {})
    assert watched(learners, learners.unless_lost(learners.all("step"))) == ["stepped"] * 2


@pytest.mark.parametrize("works", [True, False])
def test_a_rank_that_answers_no_ping_is_killed_and_named(works: bool) -> None:
    learners, actors = ranks({}, {"ping": "hang", **({"step": "hang"} if works else {})})
    with pytest.raises(RankLost, match="learner rank 1 stopped answering") as raised:
        watched(learners, learners.all("step") if works else learners.unless_lost(asyncio.sleep(5)))
    assert actors[1].dead.is_set()
    assert not actors[0].dead.is_set()
    assert lost_rank(raised.value)
    cause = find_cause(raised.value)
    assert (cause.role, cause.what) == ("learner rank 1", "stopped answering")
    assert cause.line.endswith("it did not answer a ping within learner.stall_s (0.05 s)")


def test_a_rank_that_dies_while_ranks_wait_ends_the_wait() -> None:
    learners, actors = ranks({}, {})

    async def run() -> None:
        asyncio.get_running_loop().call_later(2 * STALL_S, kill, actors[1])
        await learners.unless_lost(asyncio.sleep(5))

    with pytest.raises(RankLost, match="learner rank 1 died"):
        watched(learners, run())


def test_ranks_that_start_again_are_new_and_can_be_lost_again() -> None:
    learners, actors = ranks({}, {})

    async def run() -> list[Any]:
        await learners.restart()
        return await learners.all("step")

    assert asyncio.run(run()) == ["stepped"] * 2
    assert all(actor.dead.is_set() for actor in actors)
    assert not set(actors) & set(learners.actors)


LOST = ray.exceptions.ObjectLostError("ab" * 28, ray.core.generated.common_pb2.Address(), "")  # a step's tokens, gone with their node
PEER = RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RankLost(RANK, "died", ray.exceptions.ActorDiedError(), died=True), True),
        (RoleLate(RANK, "did not finish 'step'", 5), True),
        (RoleLate(ENGINE, "did not finish group 3", 5), False),
        (RoleFailed.behind(ENGINE, "died", ray.exceptions.ActorDiedError()), False),
        (ray.exceptions.RayTaskError("step", "Traceback", LOST).as_instanceof_cause(), True),
        (ValueError("the loss is not finite"), False),
        (LearnerFailed("the learner failed at 'transfer'"), False),
    ],
)
def test_only_the_loss_of_a_rank_brings_a_run_back(error: Exception, lost: bool) -> None:
    behind = LearnerFailed("version 3 could not be published")
    behind.__cause__ = error
    for found in (error, behind, ExceptionGroup("unhandled", [ExceptionGroup("inner", [error])])):
        assert lost_rank(found) == lost


def test_a_rank_that_only_lost_its_connection_is_lost_and_one_that_raised_is_not() -> None:
    async def call(error: Exception) -> None:
        raise error

    def of(error: Exception) -> BaseException:
        actor = SimpleNamespace(step=SimpleNamespace(remote=lambda: call(error)))
        with pytest.raises(RuntimeError) as raised:
            asyncio.run(Learners(run_config(Path("run")), [actor]).all("step"))
        return raised.value

    assert lost_rank(of(PEER))
    assert not lost_rank(of(RuntimeError("CUDA out of memory")))


@pytest.mark.parametrize(("apart_s", "saved", "survived"), [(0, False, 2), (100, True, 9), (100, False, 2)])
def test_losses_count_within_the_window_and_while_no_checkpoint_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart_s: float, saved: bool, survived: int
) -> None:
    """The clock stands still but between losses."""
    now, step, said = [0.0], [3], list[str]()
    config = run_config(tmp_path, learner={"restarts": 2, "restart_window_s": 50})
    idle: Any = SimpleNamespace()
    attempts = Attempts(config, idle, idle, idle, said.append)

    async def prepare(place: Place) -> None: ...

    monkeypatch.setattr(attempts, "_prepare", prepare)
    monkeypatch.setattr(attempts, "newest", lambda: Place(position=Position(step=step[0], next_group=0, pending=())))
    lost = RankLost(RANK, "died", RuntimeError("gone"), died=True)

    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
        for _ in range(9):
            await attempts.next(lost)
            now[0] += apart_s
            step[0] += saved

    if survived == 9:
        asyncio.run(run())
    else:
        with pytest.raises(RankLost):
            asyncio.run(run())
        assert said[-1] == "learner.restarts = 2 are used up, so the run ends"
    assert attempts.restarts == survived
