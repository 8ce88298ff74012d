"""Publishes of changes: who gets a patch, who gets whole weights, and that nobody serves anything else."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.clock import run_virtually
from cluster.publish.patches import PatchPublisher
from cluster.publish.provenance import named_in
from cluster.publish.publisher import PublishFailed
from cluster.publish.turns import open_publisher
from rollout.delta.moved import RankPatch
from rollout.transfer.proof import fingerprint
from rollout.transfer.transport import Rendezvous, Transport
from tests.cluster.test_publisher import Site
from tests.toys.publish import NAMES, ToyActor, ToyEngine, ToyRank
from tests.toys.run import run_config

WHOLE, PATCH = 3 * 24, 5  # bytes: of NAMES as the toy rank's manifest says, and of a patch


class PatchingRank(ToyRank):
    """Knows what was published last."""

    last: int | None = None
    size = PATCH

    async def send(self) -> dict[str, tuple[int, int]]:
        self.last = self.value
        return await super().send()

    async def patch(self) -> RankPatch:
        assert self.last is not None, "asked for changes of nothing"
        moved = {name: [((self.last, 0), (self.value, 0))] for name in NAMES}
        self.last = self.value
        return RankPatch(reference=self.value, digest=(0, 0), bytes=self.size, changed=1, moved=moved)


class PatchedStandBy(PatchingRank):
    async def join_transfer(self, transport: Transport, meeting: Rendezvous) -> None: ...

    async def send(self) -> dict[str, tuple[int, int]]:
        return {}

    async def patch(self) -> RankPatch:
        return RankPatch(reference=None, digest=(0, 0), bytes=0, changed=0, moved={})


class PatchedEngine(ToyEngine):
    """Takes patches of what it holds."""

    cannot = ""
    spoils: int | None = None  # what it makes of a patch

    async def patch(self, base: str, raws: list[Any], version: int) -> Any:
        if not self.paused:
            await self.actor.work("pause")
        if self.cannot or fingerprint({name: (value, 1) for name, value in self.weights.items()}) != base:
            return [], self.cannot or "it holds other weights than those that the patch changes"
        ((value,), _), *_ = raws
        self.weights, self.version = dict.fromkeys(NAMES, value if self.spoils is None else self.spoils), version
        return [{name: (value, 1) for name, value in self.weights.items()}], ""


class PatchSite(Site):
    """A site whose publisher sends changes."""

    def __init__(self, engines: int = 3, *, every: int = 3) -> None:
        super().__init__(engines)
        self.config = run_config(Path("run"), model={"dtype": "bfloat16"}, rollout={"engines": engines, "full_every": every})
        self.said: list[str] = []
        self.events: list[tuple[str, str, str]] = []
        self.replace_all()
        self.publisher = PatchPublisher(self.config, self.pool, self.publisher.learners, self.publisher.transport, self.network.call_back)
        self.publisher.on_refused = named_in(lambda *event: self.events.append(event), self.said.append)

    def replace_all(self) -> None:
        for index, old in enumerate(self.engines):
            engine = self.engines[index] = PatchedEngine(self.network)
            old.actor.behind, engine.actor = engine, old.actor
        self.ranks = [PatchingRank(self.network), PatchedStandBy(self.network)]
        self.publisher.learners.actors[:] = [ToyActor(rank) for rank in self.ranks]

    def patches(self) -> list[int]:
        """How many patches each engine got."""
        return [engine.calls.count("patch") for engine in self.engines]

    def wholes(self) -> list[int]:
        return [engine.calls.count("update") for engine in self.engines]


def scenario(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        run_virtually(test)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scenario
async def test_every_third_publish_is_whole_and_those_between_are_changes() -> None:
    site = PatchSite(every=3)
    sizes = [(await site.publish(version)).bytes for version in range(7)]
    assert sizes == [WHOLE, PATCH, PATCH, WHOLE, PATCH, PATCH, WHOLE]
    assert (site.patches(), site.wholes()) == ([4] * 3, [3] * 3)
    site.assert_serves(6, 0, 1, 2)
    assert site.said == []


@scenario
async def test_an_engine_with_other_weights_gets_whole_ones_alone_and_is_named() -> None:
    site = PatchSite(every=9)
    await site.publish(0)
    site.engines[1].weights = dict.fromkeys(NAMES, 77)
    published = await site.publish(1)
    assert published.bytes == PATCH + WHOLE
    assert (site.patches(), site.wholes()) == ([1, 1, 1], [1, 2, 1])
    site.assert_serves(1, 0, 1, 2)
    assert site.said == ["engine 1 gets whole weights: it holds other weights than those that the patch changes"]
    assert (await site.publish(2)).bytes == PATCH
    site.assert_serves(2, 0, 1, 2)


@scenario
async def test_an_engine_that_cannot_patch_is_named_once_and_gets_whole_weights_every_time() -> None:
    site = PatchSite(every=9)
    site.engines[2].cannot = "its model cannot be patched: head serves by Fp8LinearMethod"
    for version in range(4):
        await site.publish(version)
    assert (site.patches(), site.wholes()) == ([3, 3, 3], [1, 1, 4])
    site.assert_serves(3, 0, 1, 2)
    assert site.said == ["engine 2 gets whole weights: its model cannot be patched: head serves by Fp8LinearMethod"]
    assert [event[:2] for event in site.events] == [("whole weights", "engine 2")] * 3


@scenario
async def test_an_engine_that_dies_in_a_patch_takes_nobody_with_it_and_whole_weights_follow() -> None:
    site = PatchSite(every=9)
    await site.publish(0)
    site.engines[0].faults["patch"] = "die"
    assert (await site.publish(1)).bytes == PATCH
    site.assert_serves(1, 1, 2)
    assert (await site.publish(2)).bytes == WHOLE
    site.assert_serves(2, 1, 2)
    assert (await site.publish(3)).bytes == PATCH


@scenario
async def test_a_publish_in_which_every_engine_dies_fails() -> None:
    site = PatchSite(1, every=9)
    await site.publish(0)
    site.engines[0].faults["patch"] = "die"
    with pytest.raises(PublishFailed, match="every engine failed at 'patch'"):
        await site.publish(1)


@scenario
async def test_an_engine_that_makes_other_weights_of_a_patch_is_buried_and_the_others_get_whole_ones() -> None:
    site = PatchSite(every=9)
    await site.publish(0)
    site.engines[1].spoils = 5
    assert (await site.publish(1)).bytes == PATCH + WHOLE
    assert site.killed == [1]
    site.assert_serves(1, 0, 2)


@scenario
async def test_new_ranks_and_failed_publishes_are_followed_by_whole_weights() -> None:
    site = PatchSite(every=9)
    await site.publish(0)
    await site.publish(1)
    site.ranks = [PatchingRank(site.network), PatchedStandBy(site.network)]
    site.publisher.learners.actors[:] = [ToyActor(rank) for rank in site.ranks]
    await site.publisher.reset()
    assert (await site.publish(2)).bytes == WHOLE
    site.ranks[1].faults["patch"] = "raise"
    with pytest.raises(PublishFailed, match=r"the learner failed at 'diff': .*patch broke"):
        await site.publish(3)
    site.assert_serves(2, 0, 1, 2)
    site.ranks[1].faults.clear()
    assert (await site.publish(3)).bytes == WHOLE
    site.assert_serves(3, 0, 1, 2)


@scenario
async def test_changes_that_are_larger_than_half_of_the_weights_are_not_sent() -> None:
    site = PatchSite(every=9)
    await site.publish(0)
    site.ranks[0].size = WHOLE
    assert (await site.publish(1)).bytes == WHOLE
    site.assert_serves(1, 0, 1, 2)


@scenario
async def test_patches_that_do_not_lead_to_the_learners_weights_are_noticed_beside_whole_ones() -> None:
    """Engine 1 needs whole weights, whose true digests show that the others were patched to something else."""
    site = PatchSite(every=9)
    await site.publish(0)
    site.engines[1].weights = dict.fromkeys(NAMES, 77)
    rank: Any = site.ranks[0]
    honest = rank.patch

    async def wrong() -> RankPatch:
        patch = await honest()
        moved = {name: [((0, 0), (5, 0))] for name in NAMES}
        return RankPatch(reference=5, digest=(0, 0), bytes=patch.bytes, changed=1, moved=moved)

    rank.patch = wrong
    await site.publish(1)
    site.assert_serves(1, 0, 1, 2)
    assert any("did not lead to the learner's weights" in said for said in site.said)


def test_the_config_chooses_the_publisher() -> None:
    site = PatchSite()
    parts: Any = (site.pool, site.publisher.learners, site.publisher.transport)
    assert type(open_publisher(site.config, *parts)) is PatchPublisher
    assert type(open_publisher(run_config(Path("run")), *parts)).__name__ == "Publisher"
