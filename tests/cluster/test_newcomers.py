"""Engines that were started again join the next publish: proven like the others, and compared with one that serves."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from benchmarks.faults.clock import run_virtually
from cluster.actors.fleet.handle import EngineHandle, Health
from cluster.publish.probe import compare
from tests.cluster.test_publisher import METHODS, Site
from tests.toys.publish import NAMES, ToyActor, ToyEngine

PROBES = [np.arange(3, dtype=np.int32)]


class Restarted(Site):
    """A site whose lost engines are replaced by new ones, which have not been in a publish."""

    def start_again(self, index: int) -> ToyEngine:
        engine = ToyEngine(self.network)
        self.engines[index] = engine
        old = self.pool.engines[index]
        self.pool.engines[index] = EngineHandle(index, ToyActor(engine), self.pool.config.run_dir, life=old.life + 1, health=Health.STALE)
        return engine

    def health(self) -> list[str]:
        return [engine.health.value for engine in self.pool.engines]


def at(work: Callable[[Restarted], Awaitable[None]], transfer: str = "gloo", engines: int = 3) -> Restarted:
    """A site of which engines 1 and 2 have died after version 0."""

    async def run() -> Restarted:
        site = Restarted(engines, transfer=transfer, deadline_s=1.0)
        site.publisher.newcomers.probes = PROBES
        await site.publish(0)
        for engine in site.pool.engines[1:]:
            site.pool.bury(engine, ValueError("gone"))
        await work(site)
        return site

    return run_virtually(run)[0]


@pytest.mark.parametrize("transfer", ["gloo", "nccl"])
def test_newcomers_join_the_next_publish_and_serve_once_they_are_proven_and_answer_like_a_neighbour(transfer: str) -> None:
    async def work(site: Restarted) -> None:
        first, second = site.start_again(1), site.start_again(2)
        assert site.health() == ["serving", "stale", "stale"]
        published = await site.publish(1)
        site.assert_serves(1, 0, 1, 2)
        assert site.health() == ["serving"] * 3
        assert published.proven == dict.fromkeys(("engine 0", "engine 1", "engine 2"), published.weights)
        assert first.calls[-1] == second.calls[-1] == "probe"
        groups = site.publisher._groups
        await site.publish(2)
        assert site.publisher._groups == groups, "the group is rebuilt only when its members change"
        assert [engine.calls.count("probe") for engine in site.engines] == [1, 1, 1]

    at(work, transfer)


def test_an_engine_that_appears_during_a_publish_waits_for_the_next_one() -> None:
    async def work(site: Restarted) -> None:
        site.engines[0].slow["finish_update"] = 0.1
        publishing = asyncio.ensure_future(site.publish(1))
        await asyncio.sleep(0.05)
        late = site.start_again(1)
        assert (await publishing).engines == 1
        assert late.calls == []
        assert site.health()[1] == "stale"
        assert (await site.publish(2)).engines == 2
        assert site.health()[:2] == ["serving", "serving"]

    at(work)


def test_an_engine_that_appears_during_a_publish_gets_it_if_all_others_are_lost() -> None:
    async def work(site: Restarted) -> None:
        site.engines[0].slow["receive"] = 0.1
        site.engines[0].faults["receive"] = "raise"
        publishing = asyncio.ensure_future(site.publish(1))
        await asyncio.sleep(0.01)
        site.start_again(2)
        assert (await publishing).proven.keys() == {"engine 2"}
        assert site.health() == ["dead", "dead", "serving"], "without a neighbour the proof of the weights is enough"

    at(work)


@pytest.mark.parametrize("transfer", ["gloo", "nccl"])
@pytest.mark.parametrize("how", ["raise", "die"])
@pytest.mark.parametrize("stage", [*METHODS, "verify", "probe", "answer"])
def test_a_newcomer_that_fails_is_buried_alone(stage: str, how: str, transfer: str) -> None:
    async def work(site: Restarted) -> None:
        bad = site.start_again(1)
        site.start_again(2)
        if stage == "verify":
            bad.tampers = {"head": (9, 9)}
        elif stage == "answer":
            bad.sure_of_seven = -0.5
        else:
            bad.faults[METHODS.get(stage, stage)] = how
        published = await site.publish(1)
        assert published.proven.keys() == {"engine 0", "engine 2"}
        site.assert_serves(1, 0, 2)
        assert site.health() == ["serving", "dead", "serving"]

    site = at(work, transfer)
    assert site.engines[0].weights == dict.fromkeys(NAMES, 10)


def test_a_neighbour_that_fails_at_the_probe_is_buried_and_another_one_is_asked() -> None:
    async def work(site: Restarted) -> None:
        site.start_again(1)
        await site.publish(1)
        newcomer = site.start_again(2)
        site.engines[0].faults["probe"] = "die"
        assert (await site.publish(2)).engines == 2
        assert site.health() == ["dead", "serving", "serving"]
        assert newcomer.calls[-1] == "probe"

    at(work)


def test_without_probes_or_a_neighbour_the_proof_of_the_weights_is_enough() -> None:
    async def work(site: Restarted) -> None:
        site.publisher.newcomers.probes = ()
        assert "probe" not in site.start_again(1).calls
        await site.publish(1)
        assert site.health()[:2] == ["serving", "serving"]

    at(work)


@pytest.mark.parametrize(
    ("before", "after", "nats"),
    [
        (([1, 2], [0.0, 0.0]), ([1, 2], [0.0, 0.5]), 0.5),
        (([1, 2, 3], [0.0, 0.1, 9.0]), ([1, 5, 4], [0.0, 0.2, 0.0]), 0.1),
        (([1, 2], [0.0, 0.0]), ([1], [0.0]), float("inf")),
        (([], []), ([1], [0.0]), float("inf")),
        (([], []), ([], []), 0.0),
        (([1], [0.0]), ([1], [float("nan")]), float("nan")),
    ],
)
def test_answers_are_compared_up_to_their_first_other_token(before: object, after: object, nats: float) -> None:
    (found,) = compare([before], [after])  # type: ignore[list-item]
    assert found.nats == pytest.approx(nats, nan_ok=True)
