"""The real turn taker, engine pool and learners over toy engines and ranks on toy GPUs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.clock import run_virtually
from cluster.actors.engines import EnginePool, NoEngineLeft
from cluster.actors.learners import Learners
from cluster.publish.publisher import LearnerFailed, Publisher, PublishFailed
from cluster.publish.turns import ARROWS, TurnTaker, open_publisher
from rollout.transfer.transport import choose_transport
from tests.toys.publish import DEADLINE_S, NAMES, Network, ToyActor, kill
from tests.toys.run import run_config
from tests.toys.turns import Gpu, SharingEngine, SharingRank

STEP = ["sleeps", "unparks", "learns", "saves", "wakes weights", "sends", "parks", "wakes kv_cache"]
PATIENT_S = 0.6  # the deadline of a run in which nobody hangs
ENGINE_STAGES = {
    "sleep": "sleep",
    "join": "join_transfer",
    "wake weights": "wake",
    "transfer": "update",
    "wake cache": "wake",
}


class Site:
    """Engines with one GPU each and a rank on each of them, as they are after the start: the engines' turn."""

    def __init__(self, engines: int = 2, deadline_s: float = PATIENT_S) -> None:
        config = run_config(
            Path("run"),
            run={"deadline_s": deadline_s, "max_staleness": 0},
            rollout={"engines": engines},
            learner={"ranks": engines},
            placement={"share": True},
        )
        transport = choose_transport(config, gpu=False)
        network, self.gpu = Network(transport.deadline_s), Gpu()
        self.engines = [SharingEngine(network, self.gpu, index) for index in range(engines)]
        self.ranks = [SharingRank(network, self.gpu, rank) for rank in range(engines)]
        self.killed: list[int] = []
        self.pool = EnginePool(config, [ToyActor(e) for e in self.engines], lambda _: None, kill=self.kill, say=lambda _: None)
        self.learners = Learners(config, [ToyActor(rank) for rank in self.ranks], share=lambda shared: shared)
        self.publisher = open_publisher(config, self.pool, self.learners, transport)

    def kill(self, actor: ToyActor) -> None:
        engine = actor.behind
        self.killed.append(engine.index)
        self.gpu.drop(("cache", engine.index))
        kill(actor)

    async def publish(self, version: int) -> Any:
        self.ranks[0].value = version * 10
        return await self.publisher.publish(version)

    async def step(self, version: int) -> Any:
        await self.learners.step([])
        return await self.publish(version)

    async def assert_engines_turn(self, version: int, *engines: int) -> None:
        """Exactly these engines are alive and answer with this version's weights, and every rank rests."""
        assert [engine.index for engine in self.pool.alive] == list(engines)
        assert [await self.engines[index].respond() for index in engines] == [version] * len(engines)
        assert [self.engines[index].weights for index in engines] == [dict.fromkeys(NAMES, version * 10)] * len(engines)
        assert all(rank.parked for rank in self.ranks)

    def asked(self, who: str) -> list[str]:
        return [line.removeprefix(f"{who} ") for line in self.gpu.log if line.startswith(who)]


def at(work: Callable[[Site], Awaitable[None]], engines: int = 2, deadline_s: float = PATIENT_S) -> Site:
    async def run() -> Site:
        site = Site(engines, deadline_s)
        async with asyncio.timeout(40 * PATIENT_S):
            await work(site)
        return site

    return run_virtually(run)[0]


def test_a_run_takes_turns_only_where_it_is_told_to() -> None:
    config = run_config(Path("run"))
    learners: Any = type("Learners", (), {})()
    apart: Any = None
    assert type(open_publisher(config, apart, learners, apart)) is Publisher
    assert not hasattr(learners, "take_turn")


def test_a_step_hands_the_gpu_over_in_this_order() -> None:
    async def work(site: Site) -> None:
        await site.publish(0)
        site.gpu.log.clear()
        await site.learners.step([])
        await site.learners.snapshot()
        published = await site.publish(1)
        assert tuple(published.turns) == ARROWS
        assert all(0 < seconds < 1 for seconds in published.turns.values())
        await site.assert_engines_turn(1, 0)

    assert [line.split(" ", 2)[2] for line in at(work, engines=1).gpu.log] == STEP


def test_several_engines_change_hands_together() -> None:
    async def work(site: Site) -> None:
        for version in range(3):
            await site.step(version)
            await site.assert_engines_turn(version, 0, 1)

    site = at(work)
    log = [line.split(" ", 2)[2] for line in site.gpu.log]
    assert log[: len(log) // 3] == log[len(log) // 3 : 2 * len(log) // 3]
    assert log.index("unparks") > 1, "no rank comes before every engine sleeps"


def test_the_start_of_a_resumed_run_changes_hands_for_the_identity_publish_and_for_the_checkpoint() -> None:
    async def work(site: Site) -> None:
        await site.engines[0].respond()  # the probes before
        await site.publish(0)
        await site.assert_engines_turn(0, 0)
        await site.learners.load(Path("checkpoint"))
        await site.publish(4)
        await site.assert_engines_turn(4, 0)

    once = ["sleeps", "unparks", "wakes weights", "sends", "parks", "wakes kv_cache"]
    again = ["sleeps", "unparks", "loads", *once[2:]]
    assert [line.split(" ", 2)[2] for line in at(work, engines=1).gpu.log] == once + again


def test_a_save_after_a_stop_takes_the_gpu_from_engines_that_are_not_needed_any_more() -> None:
    async def work(site: Site) -> None:
        await site.step(1)
        site.gpu.log.clear()
        await site.learners.snapshot()
        await site.learners.snapshot()

    assert [line.split(" ", 2)[2] for line in at(work, engines=1).gpu.log] == ["sleeps", "unparks", "saves", "saves"]


def fail(site: Site, stage: str, how: str) -> None:
    """Let engine 1 fail at a stage of its next turn change."""
    engine = site.engines[1]
    if stage in ("wake weights", "wake cache"):
        wake, tag = engine.wake, "weights" if stage == "wake weights" else "kv_cache"

        async def failing(tags: list[str]) -> None:
            if tags == [tag]:
                site.pool.engines[1].actor.dead.set() if how == "die" else None
                if how == "hang":
                    await asyncio.sleep(3600)
                raise ValueError("wake broke")
            await wake(tags)

        engine.wake = failing  # type: ignore[method-assign]
        return
    if stage == "join":
        site.publisher._joined = []
    engine.faults[ENGINE_STAGES[stage]] = how


TURNS = ("sleep", "wake weights", "wake cache")  # all other arrows are the publisher's own, with tests of their own


@pytest.mark.parametrize(
    ("stage", "how"), [*((stage, "raise") for stage in ENGINE_STAGES), *((stage, how) for stage in TURNS for how in ("hang", "die"))]
)
def test_an_engine_that_fails_at_any_arrow_is_left_out_and_the_others_reach_the_version(stage: str, how: str) -> None:
    async def work(site: Site) -> None:
        await site.publish(0)
        fail(site, stage, how)
        published = await site.step(1)
        assert published.engines == 1
        await site.assert_engines_turn(1, 0)
        await site.step(2)
        await site.assert_engines_turn(2, 0)

    assert at(work, deadline_s=DEADLINE_S if how == "hang" else PATIENT_S).killed == [1]


def test_an_engine_that_dies_in_its_sleep_is_noticed_when_it_is_to_wake() -> None:
    async def work(site: Site) -> None:
        await site.learners.step([])
        site.pool.engines[1].actor.dead.set()
        await site.publish(1)
        await site.assert_engines_turn(1, 0)

    assert at(work).killed == [1]


@pytest.mark.parametrize("stage", ["join", "wake weights", "transfer", "wake cache"])
def test_the_last_engine_is_named_with_the_arrow_at_which_it_failed(stage: str) -> None:
    async def work(site: Site) -> None:
        site.pool.bury(site.pool.engines[0], ValueError("long ago"))
        await site.learners.step([])
        fail(site, stage, "raise")
        with pytest.raises(PublishFailed, match=f"engine 1 failed at '{stage}'"):
            await site.publish(1)

    at(work)


def test_without_an_engine_that_can_sleep_the_ranks_get_no_turn() -> None:
    async def work(site: Site) -> None:
        site.engines[0].faults["sleep"] = "raise"
        with pytest.raises(NoEngineLeft, match="all 1 engines have died, engine 0 as the last"):
            await site.learners.step([])
        assert site.asked("rank 0") == []

    at(work, engines=1)


@pytest.mark.parametrize("method", ["park", "unpark", "step", "send"])
def test_a_rank_that_fails_ends_the_run_and_no_engine_is_blamed(method: str) -> None:
    async def work(site: Site) -> None:
        await site.publish(0)
        site.ranks[1].faults[method] = "raise"
        with pytest.raises(ValueError if method == "step" else PublishFailed, match=f"{method} broke") as failed:
            await site.step(1)
        assert method != "unpark" or isinstance(failed.value, LearnerFailed)
        assert [engine.index for engine in site.pool.alive] == [0, 1]
        if method == "step":
            assert all(engine.woken == set() for engine in site.engines), "they sleep, and are ended with the run"

    at(work)


@pytest.mark.parametrize("method", ["park", "unpark"])
def test_a_rank_that_never_answers_is_noticed_at_the_deadline(method: str) -> None:
    async def work(site: Site) -> None:
        await site.publish(0)
        site.ranks[1].faults[method] = "hang"
        started = time.perf_counter()
        with pytest.raises(PublishFailed, match=f"the learner failed at '{method}'.*learner rank 1 did not finish '{method}'"):
            await site.step(1)
        assert time.perf_counter() - started < 10 * DEADLINE_S

    at(work, deadline_s=DEADLINE_S)


def test_it_is_the_turn_taker_that_a_shared_run_gets() -> None:
    async def work(site: Site) -> None:
        assert isinstance(site.publisher, TurnTaker)

    at(work)
