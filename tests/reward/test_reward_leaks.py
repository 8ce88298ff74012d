"""After ten thousand items, one in twenty of them bad, a reward pool has left nothing behind."""

import asyncio
import contextlib
import gc
import os
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from reward.workers.pool import Item, RewardPool
from rollout.types import Outcome, Verdict

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

DIES = {Outcome.CRASHED, Outcome.TIMED_OUT}  # late, where the machine was too busy to let it die in time
BAD = {"hang": {Outcome.TIMED_OUT}, "segfault": DIES, "exit_at_once": DIES, "eat_memory": DIES, "raise_error": {Outcome.UNSCORABLE},
       "print_for_ever": DIES}  # fmt: skip
BATCH = 200


def items(first: int) -> list[tuple[Item, set[Outcome]]]:
    """A batch in which every twentieth item is bad, no two alike; with what must come of each."""
    kinds = list(BAD)
    found = []
    for number in range(first, first + BATCH):
        kind = kinds[number // 20 % len(kinds)] if number % 20 == 7 else "echo"
        response = "hang" if kind == "hang" else str(number)
        item = Item(checker=f"tests.toys.bad_checkers:{kind}", response=response, reference=number)
        found.append((item, BAD.get(kind, {Outcome.SCORED})))
    return found


async def score(pool: RewardPool, total: int) -> None:
    """Every item gets one verdict, and the right one."""
    for first in range(0, total, BATCH):
        batch = items(first)
        verdicts: list[Verdict] = await pool.score([item for item, _ in batch])
        for verdict, (item, outcomes) in zip(verdicts, batch, strict=True):
            assert verdict.outcome in outcomes, (item, verdict)
            assert verdict.reward == (item.reference if Outcome.SCORED in outcomes else None)


def open_descriptors() -> set[tuple[int, str]]:
    """Number and target of each open descriptor of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


def test_ten_thousand_items_leave_no_process_no_descriptor_no_file_and_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    gc.collect()  # what tests before this one left for the collector would otherwise close while this one runs
    me = psutil.Process()
    before = set(me.children(recursive=True)), open_descriptors(), set(threading.enumerate())
    rss = []

    async def main() -> None:
        async with RewardPool(workers=2, timeout_s=0.5, memory_mb=256, warm=["tests.toys.bad_checkers:echo"]) as pool:
            for total in (1_000, 10_000):
                await score(pool, total)
                rss.append(me.memory_info().rss / 2**20)

    asyncio.run(main())
    assert rss[1] - rss[0] < 5, f"resident memory grew from {rss[0]:.1f} MB to {rss[1]:.1f} MB"
    gc.collect()
    after = set(me.children(recursive=True)), open_descriptors(), set(threading.enumerate())
    assert [now - then for now, then in zip(after, before, strict=True)] == [set(), set(), set()]
    assert list(tmp_path.iterdir()) == []
