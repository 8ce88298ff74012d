"""Publishing over NCCL, whose collectives have no deadline: the first who breaks off ends the run, and is named."""

import asyncio
import re
import time

import pytest

from cluster.publish.publisher import LearnerFailed
from rollout.proof import Entry
from rollout.transport import packed_buffers
from tests.cluster.test_publisher import METHODS, Site
from tests.toys.publish import DEADLINE_S, NAMES

PATIENT_S = 5.0  # a deadline that no test waits for
WEIGHTS = len(NAMES) * 2 * 3 * 4  # bytes of all tensors of a toy


def nccl_site(deadline_s: float) -> Site:
    """Two engines and a rank that meet over NCCL."""
    return Site(engines=2, ranks=1, transfer="nccl", deadline_s=deadline_s)


def ended(faults: dict[str, tuple[str, str]], deadline_s: float) -> tuple[str, float, Site]:
    """What is said when a publish fails so, the seconds it took, and the site it leaves."""

    async def run() -> tuple[str, float, Site]:
        site = nccl_site(deadline_s)
        parties = {"rank": site.ranks[0], "engine 0": site.engines[0], "engine 1": site.engines[1]}
        for name, (method, how) in faults.items():
            parties[name].faults[method] = how
        started = time.perf_counter()
        with pytest.raises(LearnerFailed) as failed:
            await site.publish(1)
        took = time.perf_counter() - started
        return str(failed.value), took, site

    return asyncio.run(run())


@pytest.mark.parametrize(("how", "cause"), [("raise", "{method} broke"), ("die", "The actor died unexpectedly.")])
@pytest.mark.parametrize("stage", ["join", "transfer"])
@pytest.mark.parametrize("party", ["engine 0", "engine 1", "rank"])
def test_the_first_who_breaks_off_ends_the_run_at_once_named_with_stage_and_cause(party: str, stage: str, how: str, cause: str):
    method = "send" if (party, stage) == ("rank", "transfer") else METHODS[stage]
    said, took, site = ended({party: (method, how)}, PATIENT_S)
    name = "the learner" if party == "rank" else party
    assert said == (
        f"version 1 could not be published: {name} failed at '{stage}': {cause.format(method=method)}. "
        "NCCL cannot be called back: resume the run with run.resume=auto"
    )
    assert took < PATIENT_S / 2
    calls = [call for engine in site.engines for call in engine.calls]
    assert not {"abandon_update", "resume"} & set(calls), "an engine in a broadcast would answer nothing"
    assert calls.count("join_transfer") == 2, "there is no second try"


@pytest.mark.parametrize("stage", ["join", "transfer"])
def test_a_party_that_is_late_ends_the_run_after_one_deadline_and_is_among_those_named(stage: str):
    said, took, _ = ended({"engine 1": (METHODS[stage], "hang")}, DEADLINE_S)
    assert re.search(rf"engine 1 was late at '{stage}' \(run\.deadline_s = {DEADLINE_S}\)", said)
    assert "resume the run with run.resume=auto" in said
    assert took < 3 * DEADLINE_S


def test_an_engine_that_dies_is_named_before_those_it_leaves_waiting():
    said, took, _ = ended({"engine 0": ("receive", "hang"), "engine 1": ("receive", "die")}, PATIENT_S)
    assert "published: engine 1 failed at 'transfer': The actor died unexpectedly." in said
    assert "engine 0" not in said
    assert took < PATIENT_S / 2


def test_engines_that_fail_outside_an_exchange_are_left_out_as_ever():
    async def run() -> None:
        site = nccl_site(PATIENT_S)
        site.engines[0].faults["start_update"] = "raise"
        assert (await site.publish(1)).engines == 1

    asyncio.run(run())


@pytest.mark.parametrize(("fullest", "buffers"), [("nobody", 2), ("rank", 1), ("engine 0", 1), ("engine 1", 1)])
def test_chunks_overlap_only_where_the_fullest_gpu_that_takes_part_has_room_for_three(fullest: str, buffers: int):
    async def run() -> Site:
        site = nccl_site(PATIENT_S)
        for name, party in {"rank": site.ranks[0], "engine 0": site.engines[0], "engine 1": site.engines[1]}.items():
            party.free = 3 * WEIGHTS - (name == fullest)
        await site.publish(1)
        return site

    site = asyncio.run(run())
    assert {party.meeting.buffers for party in (site.ranks[0], *site.engines)} == {buffers}


def test_an_engine_that_cannot_be_measured_is_left_out():
    async def run() -> Site:
        site = nccl_site(PATIENT_S)
        site.engines[1].faults["room"] = "die"
        await site.publish(1)
        return site

    site = asyncio.run(run())
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
