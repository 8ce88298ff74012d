"""Publishing where a member that waits for a dead one never returns by itself: once one fails, all others are called back."""

import asyncio

import pytest

from benchmarks.faults.clock import run_virtually
from cluster.publish.publisher import LearnerFailed
from rollout.transfer.proof import Entry
from rollout.transfer.transport import packed_buffers
from tests.cluster.test_publisher import METHODS, Site
from tests.toys.publish import DEADLINE_S, NAMES

PATIENT_S = 20.0  # a deadline that no test waits for
SOON_S = 2.0
WEIGHTS = len(NAMES) * 2 * 3 * 4  # bytes of all tensors of a toy


def nccl_site(deadline_s: float = PATIENT_S, engines: int = 2) -> Site:
    """Engines and a rank that meet over NCCL."""
    return Site(engines=engines, ranks=1, transfer="nccl", deadline_s=deadline_s)


@pytest.mark.parametrize("how", ["raise", "die"])
@pytest.mark.parametrize("stage", METHODS)
def test_an_engine_that_fails_at_any_stage_costs_that_engine_and_no_deadline(stage: str, how: str) -> None:
    async def run() -> Site:
        site = nccl_site(engines=3)
        await site.publish(0)
        site.engines[1].faults[METHODS[stage]] = how
        if stage == "join":
            await site.publisher.reset()
        started = asyncio.get_running_loop().time()
        assert (await site.publish(1)).engines == 2
        assert asyncio.get_running_loop().time() - started < SOON_S
        site.assert_serves(1, 0, 2)
        await site.publish(2)
        site.assert_serves(2, 0, 2)
        return site

    site = run_virtually(run)[0]
    assert site.killed == [1]
    assert bool(site.network.called_back) == (stage in ("join", "transfer"))


@pytest.mark.parametrize("stage", METHODS)
def test_an_engine_that_hangs_is_buried_at_the_deadline_or_as_soon_as_somebody_else_buries_it(stage: str) -> None:
    async def run(deadline_s: float) -> float:
        site = nccl_site(deadline_s, engines=3)
        site.engines[1].faults[METHODS[stage]] = "hang"
        publishing = asyncio.ensure_future(site.publish(1))
        started = asyncio.get_running_loop().time()
        if deadline_s == PATIENT_S:
            while METHODS[stage] not in site.engines[1].calls:
                await asyncio.sleep(0.01)
            site.pool.bury(site.pool.engines[1], ValueError("made no progress"))
        assert (await publishing).engines == 2
        site.assert_serves(1, 0, 2)
        assert site.killed == [1]
        return asyncio.get_running_loop().time() - started

    assert run_virtually(lambda: run(DEADLINE_S))[0] < 4 * DEADLINE_S
    assert run_virtually(lambda: run(PATIENT_S))[0] < SOON_S


@pytest.mark.parametrize(("how", "cause"), [("raise", "{method} broke"), ("die", "The actor died unexpectedly.")])
@pytest.mark.parametrize(("stage", "method"), [("join", "join_transfer"), ("transfer", "send")])
def test_a_learner_that_fails_is_named_and_its_engines_take_part_in_the_next_publish(stage: str, method: str, how: str, cause: str) -> None:
    async def run() -> Site:
        site = nccl_site()
        site.ranks[0].faults[method] = how
        started = asyncio.get_running_loop().time()
        with pytest.raises(LearnerFailed) as failed:
            await site.publish(1)
        assert asyncio.get_running_loop().time() - started < SOON_S
        assert str(failed.value) == f"version 1 could not be published: the learner failed at '{stage}': {cause.format(method=method)}"
        await site.new_ranks()
        await site.publish(1)
        site.assert_serves(1, 0, 1)
        return site

    assert run_virtually(run)[0].killed == []


@pytest.mark.parametrize("stage", METHODS)
def test_a_publish_that_is_cancelled_anywhere_is_repeated_with_new_ranks(stage: str) -> None:
    async def run() -> Site:
        site = nccl_site()
        await site.publish(0)
        if stage == "join":
            await site.publisher.reset()
        for engine in site.engines:
            engine.slow[METHODS[stage]] = 0.5
        if stage in ("join", "transfer"):
            site.ranks[0].faults["join_transfer" if stage == "join" else "send"] = "hang"
        publishing = asyncio.ensure_future(site.publish(1))
        calls = site.engines[0].calls
        before = calls.count(METHODS[stage])
        while calls.count(METHODS[stage]) == before:
            await asyncio.sleep(0.01)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        await asyncio.sleep(1)  # what was asked of an engine goes on there
        await site.new_ranks()
        await site.publish(2)
        site.assert_serves(2, 0, 1)
        return site

    assert run_virtually(run)[0].killed == []


@pytest.mark.parametrize(("fullest", "buffers"), [("nobody", 2), ("rank", 1), ("engine 0", 1), ("engine 1", 1)])
def test_chunks_overlap_only_where_the_fullest_gpu_that_takes_part_has_room_for_three(fullest: str, buffers: int):
    async def run() -> Site:
        site = nccl_site()
        for name, party in {"rank": site.ranks[0], "engine 0": site.engines[0], "engine 1": site.engines[1]}.items():
            party.free = 3 * WEIGHTS - (name == fullest)
        await site.publish(1)
        return site

    site = run_virtually(run)[0]
    assert {party.meeting.buffers for party in (site.ranks[0], *site.engines)} == {buffers}


def test_an_engine_that_cannot_be_measured_is_left_out():
    async def run() -> Site:
        site = nccl_site()
        site.engines[1].faults["room"] = "die"
        await site.publish(1)
        return site

    site = run_virtually(run)[0]
    site.assert_serves(1, 0)


GB = 10**9


@pytest.mark.parametrize(
    ("name", "largest", "room", "buffers"),
    [
        ("a model smaller than a chunk", 100_000, 300_000, 2),
        ("and no room for three of it", 100_000, 299_999, 1),
        ("30B: experts of 1.2 GB", 1.2 * GB, 7 * GB, 2),
        ("235B: experts of 3.2 GB", 3.2 * GB, 11 * GB, 1),
        ("235B on a GPU with much room", 3.2 * GB, 13 * GB, 2),
    ],
)
def test_the_largest_tensor_makes_the_largest_chunk(name: str, largest: float, room: float, buffers: int):
    bytes_ = int(largest)
    manifest = tuple(Entry(f"{name} {i}", "uint8", (bytes_,)) for i in range(1 if bytes_ < GB else 48))
    assert packed_buffers(manifest, int(room)) == buffers


def test_without_tensors_there_is_room() -> None:
    assert packed_buffers((), 0) == 2
