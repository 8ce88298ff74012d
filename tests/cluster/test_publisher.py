import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.faults.clock import run_virtually
from cluster.actors.engines import EnginePool
from cluster.actors.learners import Learners
from cluster.publish.publisher import Published, Publisher, PublishFailed
from rollout.transfer.transport import choose_transport
from tests.toys.publish import DEADLINE_S, NAMES, Network, ToyActor, ToyEngine, ToyRank, ToyStandBy, kill
from tests.toys.run import run_config

METHODS = {
    "join": "join_transfer",
    "transfer": "update",
    "resume": "resume",
}
PARTS = ("pause", "start_update", "receive", "finish_update")  # of an engine's update


class Site:
    """A learner of some ranks and some engines, with the publisher between them."""

    def __init__(self, engines: int = 3, *, ranks: int = 2, transfer: str = "gloo", deadline_s: float = DEADLINE_S) -> None:
        config = run_config(Path("run"), run={"deadline_s": deadline_s}, rollout={"engines": engines, "transfer": transfer})
        transport = choose_transport(config, gpu=False)
        self.network = network = Network(transport.deadline_s)
        self.engines = [ToyEngine(network) for _ in range(engines)]
        self.ranks = [ToyRank(network), *(ToyStandBy(network) for _ in range(1, ranks))]
        self.killed: list[int] = []
        self.pool = EnginePool(config, [ToyActor(engine) for engine in self.engines], lambda _: None, kill=self.kill)
        learners = Learners(config, [ToyActor(rank) for rank in self.ranks])
        self.publisher = Publisher(config, self.pool, learners, transport, network.call_back)

    def kill(self, actor: ToyActor) -> None:
        self.killed.append(self.engines.index(actor.behind))
        kill(actor)

    async def publish(self, version: int) -> Published:
        self.ranks[0].value = version * 10
        return await self.publisher.publish(version)

    async def new_ranks(self) -> None:
        """Ranks that were started again in the place of the old ones."""
        self.ranks = [ToyRank(self.network), *(ToyStandBy(self.network) for _ in self.ranks[1:])]
        self.publisher.learners.actors[:] = [ToyActor(rank) for rank in self.ranks]
        await self.publisher.reset()

    def assert_serves(self, version: int, *engines: int) -> None:
        """Exactly these engines are alive, and they serve this version's weights and nothing else."""
        assert [engine.index for engine in self.pool.alive] == list(engines)
        for index in engines:
            engine = self.engines[index]
            assert (engine.version, engine.paused, engine.updating) == (version, False, False)
            assert engine.weights == dict.fromkeys(NAMES, version * 10)


def at(work: Callable[[Site], Awaitable[None]], engines: int = 3) -> Site:
    async def run() -> Site:
        site = Site(engines)
        async with asyncio.timeout(30 * DEADLINE_S):
            await work(site)
        return site

    return run_virtually(run)[0]


def failure_of(site_work: Callable[[Site], None], engines: int = 3, version: int = 1) -> tuple[str, Site]:
    async def work(site: Site) -> None:
        site_work(site)
        with pytest.raises(PublishFailed) as failed:
            await site.publish(version)
        site.said = str(failed.value)  # type: ignore[attr-defined]

    site = at(work, engines)
    return site.said, site  # type: ignore[attr-defined]


def test_every_engine_reaches_each_version_over_one_group():
    async def work(site: Site) -> None:
        for version in (0, 1, 2):
            published = await site.publish(version)
            site.assert_serves(version, 0, 1, 2)
            assert (published.version, published.bytes, published.engines) == (version, 3 * 24, 3)

    site = at(work)
    assert [engine.worlds for engine in site.engines] == [[4]] * 3
    assert [engine.offsets for engine in site.engines] == [[1], [2], [3]]
    for engine in site.engines:
        assert engine.actor.asked == ["join_transfer", *3 * ["update", "resume"]], "a publish is two calls of an engine"
    assert site.killed == []


@pytest.mark.parametrize("how", ["raise", "hang", "die"])
@pytest.mark.parametrize("stage", [*METHODS, *PARTS])
def test_an_engine_that_fails_at_any_stage_is_left_out_and_the_others_reach_the_version(stage: str, how: str):
    async def work(site: Site) -> None:
        await site.publish(0)
        site.engines[1].faults[METHODS.get(stage, stage)] = how
        if stage == "join":
            site.publisher._joined = []  # as after an engine was lost
        published = await site.publish(1)
        assert published.engines == 2
        site.assert_serves(1, 0, 2)
        await site.publish(2)
        site.assert_serves(2, 0, 2)

    site = at(work)
    assert site.killed == [1]
    assert site.engines[0].worlds[-1] == site.engines[2].worlds[-1] == 3, "the group was rebuilt without the lost engine"
    assert site.engines[2].offsets[-1] == 2


@pytest.mark.parametrize("stage", METHODS)
def test_an_engine_that_fails_alone_is_named_with_its_stage_and_cause(stage: str):
    said, site = failure_of(lambda site: site.engines[0].faults.update({METHODS[stage]: "raise"}), engines=1)
    assert said == f"version 1 could not be published: engine 0 failed at '{stage}': {METHODS[stage]} broke"
    assert site.killed == [0]


@pytest.mark.parametrize("stage", METHODS)
def test_an_engine_that_never_answers_is_named_at_its_deadline(stage: str):
    started = time.perf_counter()
    said, _ = failure_of(lambda site: site.engines[0].faults.update({METHODS[stage]: "hang"}), engines=1)
    assert said == f"version 1 could not be published: engine 0 was late at '{stage}' (run.deadline_s = {DEADLINE_S})"
    assert time.perf_counter() - started < 5 * DEADLINE_S


@pytest.mark.parametrize(
    ("tampers", "incomplete", "said"),
    [
        ({"experts": (9, 9)}, [], "experts arrived altered"),
        ({"head": None}, [], "head was sent but not received"),
        ({"tail": (1, 1)}, [], "tail was received but never sent"),
        (
            dict.fromkeys(NAMES),
            [],
            "embedding was sent but not received, experts was sent but not received, head was sent but not received",
        ),
        ({}, ["layers.3 (5 of 9 numbers)"], "layers.3 (5 of 9 numbers) is incomplete"),
    ],
)
def test_an_engine_whose_proof_fails_serves_nothing(tampers: dict[str, object], incomplete: list[str], said: str):
    def tamper(site: Site) -> None:
        site.engines[0].tampers, site.engines[0].incomplete = tampers, incomplete

    told, site = failure_of(tamper, engines=1)
    assert told == f"version 1 could not be published: engine 0 failed the proof: {said}"
    assert "resume" not in site.engines[0].calls

    async def work(site: Site) -> None:
        tamper(site)
        await site.publish(1)
        site.assert_serves(1, 1, 2)

    assert at(work).killed == [0]


def test_an_engine_without_a_single_worker_that_proves_serves_nothing():
    async def no_workers(version: int) -> object:
        return [], []

    said, _ = failure_of(lambda site: setattr(site.engines[0], "finish_update", no_workers), engines=1)
    assert "engine 0 failed the proof: embedding was sent but not received" in said


def test_engines_that_fail_one_after_another_leave_the_last_one_serving():
    async def work(site: Site) -> None:
        site.engines[0].faults["receive"] = "raise"
        site.engines[1].faults["finish_update"] = "raise"
        site.engines[3].faults["update"] = "die"
        assert (await site.publish(1)).engines == 1
        site.assert_serves(1, 2)

    assert sorted(at(work, engines=4).killed) == [0, 1, 3]


@pytest.mark.parametrize("how", ["raise", "hang", "die"])
@pytest.mark.parametrize("part", ["update", *PARTS])
def test_when_all_engines_fail_all_are_named_and_nothing_hangs(part: str, how: str):
    started = time.perf_counter()
    said, site = failure_of(lambda site: [engine.faults.update({part: how}) for engine in site.engines])
    assert all(f"engine {index} " in said for index in range(3))
    assert sorted(site.killed) == [0, 1, 2]
    assert time.perf_counter() - started < 10 * DEADLINE_S


def test_without_an_engine_the_error_says_so():
    said, _ = failure_of(lambda site: [site.pool.bury(engine, ValueError("gone")) for engine in site.pool.engines])
    assert said == "version 1 could not be published: no engine is alive"


@pytest.mark.parametrize("how", ["raise", "hang", "die"])
@pytest.mark.parametrize(("method", "stage"), [("join_transfer", "join"), ("send", "transfer")])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_failing_learner_is_named_and_no_engine_dies_for_it(method: str, stage: str, how: str, rank: int):
    said, site = failure_of(lambda site: site.ranks[rank].faults.update({method: how}))
    cause = {"raise": f"{method} broke", "hang": f"learner rank {rank} did not finish '{method}'", "die": "The actor died unexpectedly."}[
        how
    ]
    assert said.startswith(f"version 1 could not be published: the learner failed at '{stage}': {cause}")
    assert site.killed == []


def test_engines_that_hold_half_an_update_stay_paused_when_the_learner_fails_and_whole_ones_resume():
    async def work(site: Site) -> None:
        await site.publish(0)
        site.ranks[0].faults["send"] = "raise"
        with pytest.raises(PublishFailed):
            await site.publish(1)
        assert all(engine.paused and not engine.updating for engine in site.engines)
        site.ranks[0].faults.clear()
        await site.publish(1)
        site.assert_serves(1, 0, 1, 2)
        site.ranks[0].proves = NAMES[:1]
        with pytest.raises(PublishFailed, match=r"the learner sent no digest of experts, head \(2 of 3 tensors\)"):
            await site.publish(2)
        assert site.killed == []

    at(work)


@pytest.mark.parametrize("proof", ["none", "wrong"])
def test_an_engine_that_has_proven_its_update_resumes_when_the_learner_fails_at_the_second_try(proof: str):
    async def work(site: Site) -> None:
        finish = site.engines[1].finish_update

        async def finish_and_break_the_learner(version: int) -> object:
            site.ranks[0].faults["join_transfer"] = "raise"
            if proof == "none":
                raise ValueError("no proof")
            return [{}], (await finish(version))[1]

        site.engines[1].finish_update = finish_and_break_the_learner
        said = {"none": "engine 1 failed at 'transfer': no proof", "wrong": "engine 1 failed the proof: .*"}[proof]
        with pytest.raises(PublishFailed, match=f"{said}; then the learner failed at 'join'"):
            await site.publish(1)
        if proof == "none":  # the try ended before its proofs were compared, so engine 0 has not proven its weights either
            assert site.engines[0].paused
            site.ranks[0].faults.clear()
            await site.publish(1)
        site.assert_serves(1, 0)

    at(work, engines=2)


def test_a_failed_learner_is_not_tried_again_even_if_an_engine_dies_of_it():
    def spoil(site: Site) -> None:
        site.ranks[0].faults["send"] = "raise"
        site.engines[1].faults["abandon_update"] = "die"

    said, site = failure_of(spoil)
    assert said.count("the learner failed") == 1
    assert site.killed == [1]


def test_an_engine_that_died_between_two_publishes_is_not_waited_for():
    async def work(site: Site) -> None:
        await site.publish(0)
        site.pool.bury(site.pool.engines[0], ValueError("died with a group"))
        await site.publish(1)
        site.assert_serves(1, 1, 2)

    assert at(work).engines[1].offsets == [2, 1]


def test_a_cancelled_publish_ends_at_once_whatever_its_engines_do():
    async def work(site: Site) -> None:
        for engine in site.engines:
            engine.faults = {"update": "hang", "resume": "hang", "abandon_update": "hang"}
        publishing = asyncio.ensure_future(site.publish(1))
        await asyncio.sleep(DEADLINE_S / 4)
        publishing.cancel()
        cancelled = time.perf_counter()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        assert time.perf_counter() - cancelled < DEADLINE_S / 2

    at(work)
