"""The reward pool on real processes: nothing hangs, nothing is lost, and no failure is ever a reward of 0."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from reward.workers.pool import Item, RewardPool
from rollout.types import Verdict

pytestmark = pytest.mark.timeout(60)


def bad(name: str, response: str = "1", reference: object = None) -> Item:
    return Item(checker=f"tests.toys.bad_checkers:{name}", response=response, reference=reference)


def good(number: int) -> Item:
    return Item(checker="exact", response=str(number), reference=number)


def score(items: Sequence[Item], *, workers: int = 1, timeout_s: float = 10.0, memory_mb: int = 512) -> list[Verdict]:
    async def main() -> list[Verdict]:
        async with RewardPool(workers=workers, timeout_s=timeout_s, memory_mb=memory_mb) as pool:
            return await pool.score(items)

    return asyncio.run(main())


@pytest.fixture(scope="module")
def shared() -> Iterator[RewardPool]:
    """A pool for the tests that need no pool of their own; each of them brings its own event loop."""
    pool = RewardPool(workers=1, timeout_s=10, memory_mb=512)
    yield pool
    pool.close()


def rewards(verdicts: Sequence[Verdict]) -> list[float | None]:
    return [v.reward for v in verdicts]


def failure(verdict: Verdict) -> str:
    assert verdict.reward is None
    assert not verdict.parts
    return verdict.failure or ""


async def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


def test_verdicts_come_in_the_order_of_the_items_with_their_raw_correctness() -> None:
    verdicts = score([bad("echo", str(i)) for i in range(100)], workers=2)
    assert verdicts == [Verdict(reward=float(i), parts={"correct": float(i)}) for i in range(100)]


def test_zero_is_a_reward_like_any_other(shared: RewardPool) -> None:
    assert asyncio.run(shared.score([Item(checker="exact", response="", reference="42")])) == [Verdict(reward=0.0, parts={"correct": 0.0})]


def test_a_hanging_item_times_out_and_the_rest_of_its_chunk_is_scored() -> None:
    items = [bad("hang", "hang" if i == 3 else str(i)) for i in range(12)]
    started = time.monotonic()
    verdicts = score(items, timeout_s=0.3)
    assert failure(verdicts[3]) == "timeout: more than 0.3 s to score the response"
    assert rewards(verdicts) == [None if i == 3 else float(i) for i in range(12)]
    assert time.monotonic() - started < 10


FAILURES = {
    "raise_error": "error: KeyError: 'no such thing'",
    "leave": "error: SystemExit: 0",
    "not_a_number": "error: ValueError: checker returned nan, needed a finite number",
    "not_even_a_float": "error: TypeError: checker returned str '1.0', needed a number: return the number itself, not its text",
    "exit_at_once": "crash: the worker exited with status 3",
    "segfault": "crash: the worker was killed by SIGSEGV",
    "eat_memory": "memory: the checker needs more than memory_mb=256",
    "no_such_function": "error: OwnCodeError: checker 'tests.toys.bad_checkers:no_such_function': tests.toys.bad_checkers has no 'no_such",
}


def test_a_checker_that_fails_gives_a_typed_failure_and_spares_its_neighbours() -> None:
    verdicts = score([item for number, name in enumerate(FAILURES) for item in (bad(name), good(number))], memory_mb=256)
    for verdict, expected in zip(verdicts[::2], FAILURES.values(), strict=True):
        assert failure(verdict).startswith(expected)
    assert rewards(verdicts[1::2]) == [1.0] * len(FAILURES)


def test_an_item_whose_worker_died_once_is_scored_on_a_fresh_one(shared: RewardPool, tmp_path: Path) -> None:
    items = [good(1), bad("kill_itself_once", reference=str(tmp_path / "memory")), good(2)]
    assert rewards(asyncio.run(shared.score(items))) == [1.0, 1.0, 1.0]


def test_a_worker_is_replaced_before_a_leak_makes_right_answers_wrong() -> None:
    async def main() -> list[float | None]:
        async with RewardPool(workers=1, timeout_s=10, memory_mb=512) as pool:
            return [(await pool.score([bad("keep_memory_and_swallow_the_error")]))[0].reward for _ in range(14)]

    assert asyncio.run(main()) == [1.0] * 14


def test_endless_output_ends_its_item_and_neither_blocks_nor_fills_anything() -> None:
    verdicts = score([bad("print_for_ever"), good(1)], timeout_s=5)
    assert failure(verdicts[0]) == "output: the checker printed more than 1024 KB for one response"
    assert verdicts[1].reward == 1.0


def test_workers_killed_from_outside_lose_nothing_and_score_nothing_twice(tmp_path: Path) -> None:
    log = tmp_path / "calls"

    async def main() -> list[Verdict]:
        async with RewardPool(workers=2, timeout_s=10, memory_mb=512) as pool:
            scoring = asyncio.create_task(pool.score([bad("log_and_echo", str(i), str(log)) for i in range(150)]))
            for seen in (20, 60, 100):
                await until(lambda seen=seen: log.exists() and len(log.read_text().splitlines()) >= seen)
                os.kill(pool.pids[0], signal.SIGKILL)
            return await scoring

    assert rewards(asyncio.run(main())) == [float(i) for i in range(150)]
    calls = log.read_text().split()
    assert set(calls) == {str(i) for i in range(150)}
    assert len(calls) <= 150 + 3, "only an item that was killed with its worker may run again"


def test_a_worker_killed_while_idle_is_replaced_and_nobody_is_blamed() -> None:
    async def main() -> None:
        async with RewardPool(workers=1, timeout_s=10, memory_mb=512) as pool:
            for round_ in range(3):
                killed = pool.pids[0]
                os.kill(killed, signal.SIGKILL)
                assert (await pool.score([bad("echo", str(round_))]))[0].reward == round_
                assert pool.pids[0] != killed

    asyncio.run(main())


def test_long_and_strange_texts_and_references_arrive_unchanged(shared: RewardPool) -> None:
    texts = ["a" * 2**20, "é" * 2**20, "\n\r\0\u2028", "\ud800", "", '"}]\\']
    items = [bad("length", text) for text in texts] + [bad("is_reference", "", {"answers": [1, "two", None]})]
    verdicts = asyncio.run(shared.score(items))
    assert rewards(verdicts) == [float(len(text)) for text in texts] + [1.0]


def test_a_reference_that_is_no_json_fails_alone(shared: RewardPool) -> None:
    verdicts = asyncio.run(shared.score([good(1), bad("echo", "1", object()), good(2)]))
    assert failure(verdicts[1]).startswith("error: TypeError: not a JSON value")
    assert rewards(verdicts) == [1.0, None, 1.0]


def test_many_callers_on_one_loop_each_get_their_own_verdicts(shared: RewardPool) -> None:
    async def main() -> list[list[Verdict]]:
        return await asyncio.gather(*(shared.score([bad("echo", str(10 * c + i)) for i in range(c % 5)]) for c in range(100)))

    assert [rewards(v) for v in asyncio.run(main())] == [[10.0 * c + i for i in range(c % 5)] for c in range(100)]


def test_one_pool_serves_event_loops_of_several_threads(shared: RewardPool) -> None:
    found: dict[int, list[float | None]] = {}

    def use(number: int) -> None:
        found[number] = rewards(asyncio.run(shared.score([bad("echo", str(number))] * 20)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(5)))
    assert found == {n: [float(n)] * 20 for n in range(5)}


def test_a_cancelled_caller_leaves_the_pool_to_the_others() -> None:
    async def main() -> list[Verdict]:
        async with RewardPool(workers=1, timeout_s=0.6, memory_mb=512) as pool:
            impatient = asyncio.create_task(pool.score([bad("hang", "hang")] * 40))
            await asyncio.sleep(0.1)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
            return await asyncio.wait_for(pool.score([good(1)]), 10)

    assert rewards(asyncio.run(main())) == [1.0]


def test_closing_ends_waiting_callers_kills_every_child_and_frees_every_descriptor(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        before = descriptors()
        pool = RewardPool(workers=2, timeout_s=0.3, memory_mb=512)
        await pool.score([bad("hang", "hang"), bad("exit_at_once"), good(1)])
        waiting = asyncio.create_task(pool.score([bad("hang", "hang")] * 10))
        await asyncio.sleep(0.1)
        pool.close()
        pool.close()
        with pytest.raises(RuntimeError, match="the reward pool is closed"):
            await waiting
        lengths = set()
        for _ in range(3):
            with pytest.raises(RuntimeError, match="the reward pool is closed") as caught:
                await pool.score([good(1)])
            lengths.add(len(caught.traceback))
        assert len(lengths) == 1, "an error that many callers get does not keep their frames"
        assert descriptors() == before

    children, threads = set(psutil.Process().children(recursive=True)), set(threading.enumerate())
    asyncio.run(main())
    assert set(psutil.Process().children(recursive=True)) <= children
    assert not [t for t in set(threading.enumerate()) - threads if t.name == "reward-supervisor"]


def test_workers_that_cannot_start_are_an_error_with_their_last_words(tmp_path: Path) -> None:
    async def main(pool: RewardPool) -> None:
        with pytest.raises(RuntimeError, match=r"(?s)died at start 3 times in a row.*status 3 while it imported checker .*its last words"):
            await pool.score([good(1)])
        with pytest.raises(RuntimeError, match="died at start 3 times in a row"):
            await pool.ready()

    (tmp_path / "dies.py").write_text("import os\nprint('its last words', flush=True)\nos._exit(3)\n")
    pool = RewardPool(workers=1, timeout_s=5, memory_mb=512, warm=[f"{tmp_path}/dies.py:score"])
    asyncio.run(main(pool))
    pool.close()


def test_workers_see_no_secrets_and_import_nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    seen, light = score([bad("environment"), bad("is_light", reference=["numpy", "torch", "ray", "vllm", "rollout.types"])])
    assert set(failure(seen).removeprefix("error: ValueError: ").partition(" (")[0].split(",")) <= {
        "HOME", "JE_ARROW_MALLOC_CONF", "LC_CTYPE", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PATH", "PYTHONHASHSEED", "PYTHONPATH",
        "PYTHONUTF8", "TMPDIR",
    }  # fmt: skip
    assert light.reward == 1.0


def test_mathematics_that_explodes_is_wrong_at_once_and_honest_answers_are_scored() -> None:
    async def main() -> list[Verdict]:
        async with RewardPool(workers=1, timeout_s=0.5, memory_mb=1024, warm=["math"]) as pool:
            tower = Item(checker="math", response="\\boxed{9^{9^{9^{9}}}}", reference="9^{9^{9}}")
            honest = [Item(checker="math", response=f"#### {i}", reference=str(i)) for i in range(20)]
            return await pool.score([*honest, tower, *honest])

    verdicts = asyncio.run(main())
    assert verdicts[20].reward == 0.0
    assert [v.reward for i, v in enumerate(verdicts) if i != 20] == [1.0] * 40


@pytest.mark.parametrize(("workers", "timeout_s", "memory_mb"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_impossible_sizes_are_refused(workers: int, timeout_s: float, memory_mb: int) -> None:
    with pytest.raises(ValueError, match="need workers >= 1"):
        RewardPool(workers=workers, timeout_s=timeout_s, memory_mb=memory_mb)


def test_every_worker_has_a_sandbox_of_its_own() -> None:
    """A launcher that workers shared would hand one program's output to another's checker."""
    items = [
        Item(checker="code", response=f"print({i} * int(input()))", reference={"inputs": ["2"], "outputs": [str(2 * i)]}) for i in range(40)
    ]

    async def main() -> list[Verdict]:
        async with RewardPool(workers=2, timeout_s=20, memory_mb=2048, warm=["code"]) as pool:
            return await pool.score(items)

    assert rewards(asyncio.run(main())) == [1.0] * 40
