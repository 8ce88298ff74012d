"""What a reward pool does about items that are slow, deadly or too many, and about the loss of its own processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from reward.own.name import OwnCodeError
from reward.processes.own_time import OwnTime
from reward.workers.patience import Patience
from reward.workers.pool import Item, RewardPool
from reward.workers.quarantine import MOST, Quarantine
from rollout.types import Outcome, Verdict

pytestmark = [pytest.mark.timeout(60), pytest.mark.end_to_end]


def bad(name: str, response: str = "1", reference: object = None) -> Item:
    return Item(checker=f"tests.toys.bad_checkers:{name}", response=response, reference=reference)


def rewards(verdicts: Sequence[Verdict]) -> list[float | None]:
    return [v.reward for v in verdicts]


async def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


def with_pool(work: Callable[[RewardPool], Any], **settings: Any) -> Any:
    async def main() -> Any:
        async with RewardPool(**{"workers": 1, "timeout_s": 10.0, "memory_mb": 512} | settings) as pool:
            return await work(pool)

    return asyncio.run(main())


def test_healthy_items_do_not_wait_behind_hanging_ones() -> None:
    async def work(pool: RewardPool) -> None:
        hanging = asyncio.create_task(pool.score([bad("hang", "hang")] * 2))
        await asyncio.sleep(0)
        verdicts = await asyncio.wait_for(pool.score([bad("hang", str(i)) for i in range(50)]), 15)
        assert rewards(verdicts) == [float(i) for i in range(50)]
        assert not hanging.done()

    with_pool(work, timeout_s=30.0)


def test_a_slow_item_ends_as_it_should_and_its_worker_returns() -> None:
    async def work(pool: RewardPool) -> list[Verdict]:
        return [(await pool.score([bad("nap", str(i), 0.6 if i % 4 == 1 else 0)]))[0] for i in range(12)]

    assert rewards(with_pool(work)) == [float(i) for i in range(12)]


def test_more_hanging_items_than_places_each_get_their_time_and_end_late() -> None:
    async def work(pool: RewardPool) -> list[Verdict]:
        return await pool.score([bad("hang", "hang")] * 7 + [bad("hang", "3")])

    *late, healthy = with_pool(work, timeout_s=0.6)
    assert [v.outcome for v in late] == [Outcome.TIMED_OUT] * 7
    assert {v.failure for v in late} == {"timeout: more than 0.6 s to score the response"}
    assert healthy.reward == 3.0


def test_an_item_that_kills_two_workers_is_quarantined_with_its_text() -> None:
    told: list[tuple[Item, str]] = []
    deadly = bad("segfault", "the text")

    async def work(pool: RewardPool) -> None:
        first = (await pool.score([deadly]))[0]
        pids = pool.pids
        again, other = await pool.score([deadly, bad("echo", "4")])
        assert first.failure == "crash: the worker was killed by SIGSEGV"
        assert again.failure == f"crash: quarantined: this very item has killed workers before: {first.failure}"
        assert (first.outcome, again.outcome, other.reward) == (Outcome.CRASHED, Outcome.CRASHED, 4.0)
        assert pool.pids == pids
        assert told == [(deadly, first.failure)]

    with_pool(work, on_quarantine=lambda item, failure: told.append((item, failure)))


def test_an_item_that_fills_the_memory_all_by_itself_is_not_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    told: list[str] = []

    async def work(pool: RewardPool) -> None:
        verdict = (await pool.score([bad("log_and_eat_memory", reference=str(log))]))[0]
        assert (verdict.outcome, verdict.failure) == (Outcome.CRASHED, "memory: the checker needs more than memory_mb=512")
        assert log.read_text() == "eats\n"
        assert told == [verdict.failure]

    with_pool(work, on_quarantine=lambda item, failure: told.append(failure))


def test_an_item_that_finds_too_little_memory_left_by_others_is_scored_on_a_fresh_worker() -> None:
    async def work(pool: RewardPool) -> list[Verdict]:
        return [(await pool.score([bad("keep_or_need_memory", megabytes)]))[0] for megabytes in ("200", "-250")]

    assert rewards(with_pool(work, workers=1)) == [1.0, 1.0]


def test_whoever_is_told_of_a_quarantine_and_fails_closes_the_pool_with_that_error() -> None:
    def refuse(item: Item, failure: str) -> None:
        raise OSError("no space left")

    async def work(pool: RewardPool) -> None:
        for _ in range(2):
            with pytest.raises(OSError, match="no space left"):
                await pool.score([bad("exit_at_once")])

    with_pool(work, on_quarantine=refuse)


def test_a_quarantine_remembers_the_latest() -> None:
    quarantine = Quarantine()
    for number in range(MOST + 1):
        quarantine.add(str(number), f"crash {number}")
    assert quarantine.find("0") is None
    assert [quarantine.find(str(number)) for number in (1, MOST)] == ["crash 1", f"crash {MOST}"]


def test_callers_wait_at_the_door_while_the_queue_is_full_and_come_in_by_turns() -> None:
    async def work(pool: RewardPool) -> None:
        most, ended = 0, []

        async def call(number: int) -> None:
            assert rewards(await pool.score([bad("nap", str(number), 0.01)] * 3)) == [float(number)] * 3
            ended.append(number)

        calls = [asyncio.create_task(call(number)) for number in range(30)]
        await asyncio.sleep(0)
        calls[20].cancel()
        while not all(c.done() for c in calls):
            most = max(most, pool.queue.waiting)
            await asyncio.sleep(0.002)
        assert 0 < most <= 6
        assert ended == [number for number in range(30) if number != 20]
        assert len(await pool.score([bad("echo")] * 50)) == 50
        assert pool.queue.waiting == 0

    with_pool(work, max_waiting=6)


def test_a_caller_who_waits_at_the_door_hears_of_the_closing() -> None:
    async def work(pool: RewardPool) -> None:
        calls = [asyncio.create_task(pool.score([bad("nap", "1", 5)] * 2)) for _ in range(6)]
        await until(lambda: pool.queue.waiting == 1)
        pool.close()
        for call in calls:
            with pytest.raises(RuntimeError, match="the reward pool is closed"):
                await call

    with_pool(work, max_waiting=2, timeout_s=20.0)


def test_the_loss_of_the_template_loses_no_item_and_blames_none(tmp_path: Path) -> None:
    log = tmp_path / "calls"

    async def work(pool: RewardPool) -> list[Verdict]:
        scoring = asyncio.create_task(pool.score([bad("log_and_echo", str(i), str(log)) for i in range(100)]))
        for seen in (20, 50):
            await until(lambda seen=seen: log.exists() and len(log.read_text().splitlines()) >= seen)
            old = pool.pids
            os.kill(psutil.Process(old[0]).ppid(), signal.SIGKILL)
            await until(lambda old=old: bool(pool.pids) and pool.pids != old)
        return await scoring

    assert rewards(with_pool(work, workers=2)) == [float(i) for i in range(100)]
    # Each of the two losses ends two workers, and on a busy machine the workers that took their slots while they were slow.
    assert len(log.read_text().split()) <= 100 + 8, "only items that were under way run again"


def test_an_item_that_kills_the_template_does_so_three_times_at_most() -> None:
    async def work(pool: RewardPool) -> list[Verdict]:
        return [*await pool.score([bad("end_the_parent")]), *await pool.score([bad("echo", "2")])]

    deadly, healthy = with_pool(work)
    assert deadly.failure == "crash: the process that starts workers was killed by SIGKILL 3 times while this was scored"
    assert healthy.reward == 2.0


def test_a_process_that_a_checker_has_cut_loose_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    async def work(pool: RewardPool) -> None:
        assert rewards(await pool.score([bad("leave_a_daemon", "1", str(file))])) == [1.0]
        await until(lambda: not psutil.pid_exists(int(file.read_text())))

    with_pool(work)


def test_a_worker_is_confined_and_first_to_go_when_memory_is_short() -> None:
    async def work(pool: RewardPool) -> list[Verdict]:
        return await pool.score([bad("sees_itself_confined")])

    assert rewards(with_pool(work)) == [1.0]


def test_a_checker_that_starts_threads_when_it_is_imported_is_refused() -> None:
    async def work(pool: RewardPool) -> None: ...

    with pytest.raises(OwnCodeError, match=r"started 1 threads when it was imported, and the workers, which are forks, have none of them"):
        with_pool(work, warm=["tests.toys.threading_checker:score"])


@pytest.fixture
def one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("one_core")
def test_waiting_for_a_core_is_not_an_items_own_time_and_sleeping_is() -> None:
    spin = [sys.executable, "-S", "-c", "while True: pass"]
    processes = [subprocess.Popen(spin), subprocess.Popen(spin), subprocess.Popen(spin), subprocess.Popen(["sleep", "60"])]
    os.sched_setscheduler(processes[0].pid, os.SCHED_IDLE, os.sched_param(0))
    try:
        clocks = [OwnTime(process.pid) for process in processes]
        began = time.monotonic()
        for clock in clocks:
            clock.restart(began)
        for _ in range(10):
            time.sleep(0.1)
            now = time.monotonic()
            starved, half, _, asleep = [clock.spent(now) for clock in clocks]
        assert starved < 0.3 * (now - began)
        assert half < 0.8 * (now - began)
        assert asleep > 0.8 * (now - began)
    finally:
        for process, clock in zip(processes, clocks, strict=True):
            clock.close()
            process.kill()
            process.wait()


def test_patience_follows_what_items_of_the_same_checker_have_taken() -> None:
    patience = Patience(timeout_s=8)
    assert patience.of_checker("quick") == 0.5
    for _ in range(200):
        patience.learn("quick", 0.001)
    assert patience.of_checker("quick") == 0.02
    assert patience.of_checker("unknown") == 0.02
    for _ in range(200):
        patience.learn("slow", 0.2)
    assert patience.of_checker("slow") == pytest.approx(0.3)
    assert patience.of_checker("quick") == 0.02
    for _ in range(200):
        patience.learn("endless", 7.0)
    assert patience.of_checker("endless") == 2.0
