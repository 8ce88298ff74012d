"""The reward pool: the gain of a second worker, and the effect of hanging, crashing and memory-eating items on healthy ones.

Throughput is measured closed-loop, all items at once. Latency is measured open-loop: healthy items arrive at random (Poisson, the same
arrivals on both sides) at rates that make the workers 10 % and 40 % busy, whether or not the pool keeps up. One side adds a bad item to
every twenty. Latency is from submission to verdict, for healthy items only. Every round of either side has a fresh pool.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from benchmarks.rounds import Row, Size, alternate, figures, ratio
from reward.workers.pool import Item, RewardPool
from rollout.types import Outcome

WORKERS = min(2, os.cpu_count() or 1)
BUSY, BAD = (0.1, 0.4), 0.05
TIMEOUT_S, MEMORY_MB = 2.0, 512
BAD_ITEMS = (
    "hang_asleep",
    "segfault",
    "eat_memory",
    "hang_busy",
    "exit_at_once",
    "eat_memory",
)  # one third each hang, crash and eat memory
WARM = ["math", "benchmarks.bad_checkers:segfault"]  # the second makes a fresh worker import the file of the bad checkers
WARM_UP_ITEMS = 200


def measure(size: Size) -> list[Row]:
    """All measurements."""
    return throughput(size) + reserve(size) + latency(size)


def healthy(count: int, seed: int) -> list[Item]:
    """Mathematics as models write it: three in four are numbers and fractions, the rest polynomials, which take several times as long."""
    draw = random.Random(seed)
    items = []
    for number in range(count):
        a, b = draw.randint(1, 9999), draw.randint(2, 99)
        response, reference = (
            (f"so the answer is \\boxed{{{a}}}", f"{a}"),
            (f"thus \\boxed{{\\frac{{{a}}}{{{b}}}}}", f"{a}/{b}"),
            (f"we get\n#### {a}", f"{a}"),
            (f"\\boxed{{x^2+{a}x+{b}}}", f"{b}+{a}x+x^2"),
        )[number % 4]
        items.append(Item(checker="math", response=response, reference=reference))
    draw.shuffle(items)
    return items


def bad(count: int, seed: int) -> list[Item]:
    """Items of every bad kind in turn, no two equal: the quarantine would skip a repeated one."""
    kinds = [BAD_ITEMS[number % len(BAD_ITEMS)] for number in range(count)]
    return [Item(checker=f"benchmarks.bad_checkers:{kind}", response=f"{seed} {n}", reference=None) for n, kind in enumerate(kinds)]


def pool_of(workers: int) -> RewardPool:
    return RewardPool(workers=workers, timeout_s=TIMEOUT_S, memory_mb=MEMORY_MB, warm=WARM)


async def drain(pool: RewardPool, items: Sequence[Item]) -> float:
    """Seconds to score all items; every verdict must be right."""
    await pool.ready()
    started = time.perf_counter()
    verdicts = await pool.score(items)
    seconds = time.perf_counter() - started
    assert all(verdict.reward == 1.0 for verdict in verdicts), [v for v in verdicts if v.reward != 1.0][:3]
    return seconds


def throughput(size: Size) -> list[Row]:
    """One worker against all of them, on the same items."""
    items = healthy(40 * size.steps, 0)
    pools = {f"{count} worker": pool_of(count) for count in (1, WORKERS)}

    def work(pool: RewardPool) -> Callable[[int], dict[str, Any]]:
        return lambda _: {"seconds": asyncio.run(drain(pool, items))}

    try:
        kept = alternate({name: work(pool) for name, pool in pools.items()}, size)
    finally:
        for pool in pools.values():
            pool.close()
    one, many = ([len(items) / answer["seconds"] for answer in answers] for answers in kept.values())
    return [
        Row(what="throughput of one worker", unit="items/s", values=one),
        Row(what=f"throughput of {WORKERS} workers", unit="items/s", values=many),
        ratio(f"{WORKERS} workers over {WORKERS} x one worker", many, [WORKERS * rate for rate in one]),
    ]


def spent() -> float:
    """CPU seconds of this process and of every one that it has started and that has ended."""
    return sum(os.times()[:4])


async def alone(items: Sequence[Item]) -> None:
    """A pool of one worker from its start to its end, which scores these items one after another."""
    async with pool_of(1) as pool:
        for item in items:
            await pool.score([item])


def reserve(size: Size) -> list[Row]:
    """CPU seconds of a bad item, whatever else the machine does, and the cores that bad items take beside healthy ones."""
    kinds = list(dict.fromkeys(BAD_ITEMS))
    costs: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(max(1, size.runs)):
        began = spent()
        asyncio.run(alone([]))
        pool = spent() - began
        for kind, found in costs.items():
            began = spent()
            asyncio.run(
                alone([Item(checker=f"benchmarks.bad_checkers:{kind}", response=f"{number} {n}", reference=None) for n in range(4)])
            )
            found.append((spent() - began - pool) / 4)
    mean = [sum(costs[kind][round_] for kind in BAD_ITEMS) / len(BAD_ITEMS) for round_ in range(len(costs[kinds[0]]))]
    return [
        *(Row(what=f"CPU time of an item that does {kind}", unit="s", values=found) for kind, found in costs.items()),
        Row(what=f"cores for the bad ones of 100 items/s, {BAD:.0%} bad", unit="cores", values=[100 * BAD * cost for cost in mean]),
    ]


async def open_loop(pool: RewardPool, items: Sequence[Item], rate: float, bad_items: Sequence[Item], seed: int) -> dict[str, Any]:
    """Latencies of healthy items that arrive at `rate`, with the bad ones spread among them."""
    draw = random.Random(seed)
    latencies: list[float] = []
    crashed: list[asyncio.Task[Any]] = []
    waiting: list[asyncio.Task[None]] = []

    async def one(item: Item, due: float) -> None:
        (verdict,) = await pool.score([item])
        latencies.append(time.perf_counter() - due)
        assert verdict.reward == 1.0, verdict

    every = max(1, round(1 / BAD))
    left = list(bad_items)
    due = started = time.perf_counter()
    for number, item in enumerate(items):
        due += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        waiting.append(asyncio.create_task(one(item, due)))
        if left and number % every == every - 1:
            crashed.append(asyncio.create_task(pool.score([left.pop()])))
    await asyncio.gather(*waiting)
    seconds = time.perf_counter() - started
    ended = [task.result()[0] for task in crashed if task.done()]
    assert not any(verdict.outcome is Outcome.SCORED for verdict in ended)
    for task in crashed:
        task.cancel()
    p50, p90, p99 = np.quantile(latencies, [0.5, 0.9, 0.99]) * 1000
    return {"seconds": seconds, "p50": p50, "p90": p90, "p99": p99, "max": 1000 * max(latencies), "bad_ended": len(ended)}


async def one_round(rate: float, count: int, bad_count: int, seed: int) -> dict[str, Any]:
    """A fresh pool, warmed up, under load."""
    async with pool_of(WORKERS) as pool:
        await drain(pool, healthy(WARM_UP_ITEMS, 1))
        return await open_loop(pool, healthy(count, seed), rate, bad(bad_count, seed), seed)


def latency(size: Size) -> list[Row]:
    """The same arrivals with and without bad items, on mostly idle and on busy workers."""
    with closing(pool_of(WORKERS)) as pool:
        asyncio.run(drain(pool, healthy(WARM_UP_ITEMS, 1)))
        most = 1000 / asyncio.run(drain(pool, healthy(1000, 2)))
    return [row for busy in BUSY for row in latency_at(busy, busy * most, size)]


def latency_at(busy: float, rate: float, size: Size) -> list[Row]:
    """Latencies of healthy items that arrive at `rate`, which makes workers busy for the share `busy` of their time."""
    count = round(40 * size.steps * busy / max(BUSY))
    print(f"  {rate:.0f} healthy items/s ({busy:.0%} busy), {count} a round, {round(BAD * count)} bad ones", flush=True)
    sides = {"healthy": 0, "with bad": round(BAD * count)}

    def work(bad_count: int) -> Callable[[int], dict[str, Any]]:
        return lambda seed: asyncio.run(one_round(rate, count, bad_count, seed))

    kept = alternate({name: work(bad_count) for name, bad_count in sides.items()}, size)
    named = [(key, side, answers) for side, answers in kept.items() for key in ("p50", "p90", "p99", "max")]
    rows = [figures(f"{key} latency, {side}, {busy:.0%} busy", "ms", answers, key) for key, side, answers in named]
    values = {key: [[answer[key] for answer in answers] for answers in kept.values()] for key in ("p50", "p90", "p99")}
    rows += [ratio(f"{key} latency, with bad over healthy, {busy:.0%} busy", values[key][1], values[key][0]) for key in values]
    return [*rows, figures(f"bad items that had ended with the last healthy one, {busy:.0%} busy", "items", kept["with bad"], "bad_ended")]
