"""Steps with long-tailed response lengths, in virtual time: the real window over an engine of a fixed number of slots.

A response takes as many seconds as it has tokens / RATE, in one slot of the engine; a group is finished with its last response. Lengths are
log-normal with a 99th percentile of ten times the median, drawn once from a seed, the same for every setting. Learning takes no time, so
a step is generation alone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.clock import run_virtually
from rollout.window.window import GroupWindow

SIGMA = np.log(10) / 2.326  # of a log-normal law whose 99th percentile is ten medians
MEDIAN_S = 20.0  # seconds of the median response
GROUP, GROUPS = 8, 32  # responses to a prompt, prompts of a step
SLOTS = 128
STEPS = 60
Sampled = tuple[int, int]  # a group, and the version at its first token


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a run of some steps showed."""

    step_s: float  # mean seconds of a step
    bound_s: float  # the mean over steps of the larger of work / slots and the longest group's longest response
    stalest: int
    shares: dict[str, float]  # mean share of the window's slots in each state


def trace(steps: int, seed: int = 0) -> NDArray[np.float64]:
    """Seconds of each response [groups, G]."""
    return np.random.default_rng(seed).lognormal(np.log(MEDIAN_S), SIGMA, size=(3 * steps * GROUPS, GROUP))


def course(ahead: int, max_staleness: int, lengths: NDArray[np.float64], steps: int = STEPS) -> Course:
    """A run in virtual time with these bounds."""
    size = (ahead + 1) * GROUPS
    found: list[Sampled] = []
    shares: list[dict[str, float]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        slots = asyncio.Semaphore(SLOTS)
        version = 0

        async def respond(seconds: float) -> int:
            async with slots:
                began = version
                await asyncio.sleep(seconds)
                return began

        async def submit(group_id: int) -> Sampled:
            return group_id, min(await asyncio.gather(*(respond(seconds) for seconds in lengths[group_id])))

        async with asyncio.TaskGroup() as tasks:
            window: GroupWindow[Sampled] = GroupWindow(
                tasks,
                size=size,
                submit=submit,
                keep=lambda _: True,
                on_reject=lambda _: None,
                max_rejected=GROUPS,
                max_staleness=None if ahead == max_staleness else max_staleness,
                clock=loop.time,
            )
            filling = tasks.create_task(window.keep_full())
            for _ in range(steps):
                found.extend((version, began) for _, began in await window.take(GROUPS))
                version += 1
                shares.append({state: mean / size for state, mean in window.occupancy.means().items()})
                window.published()
                await window.release(GROUPS)
            filling.cancel()
            window.cancel()

    _, seconds = run_virtually(run)
    first = lengths[: steps * GROUPS].reshape(steps, -1)
    return Course(
        step_s=seconds / steps,
        bound_s=float(np.maximum(first.sum(1) / SLOTS, first.max(1)).mean()),
        stalest=max(version - began for version, began in found),
        shares={state: float(np.mean([share[state] for share in shares])) for state in shares[0]},
    )


def main(settings: Sequence[tuple[int, int]] = ((0, 0), (1, 1), (1, 2), (1, 4), (2, 4), (4, 4))) -> None:
    """Print a table of ratios: each setting against the synchronous one, and against the bound."""
    lengths = trace(STEPS)
    synchronous = course(0, 0, lengths).step_s
    print(f"p99 / median of the lengths: {np.quantile(lengths, 0.99) / np.median(lengths):.1f}")
    for ahead, bound in settings:
        seen = course(ahead, bound, lengths)
        busy = seen.shares["generating"]
        print(
            f"ahead = {ahead}, max_staleness = {bound}: synchronous / step {synchronous / seen.step_s:.2f}, step / bound "
            f"{seen.step_s / seen.bound_s:.2f}, stalest {seen.stalest}, generating {busy:.2f} of the window"
        )


if __name__ == "__main__":
    main()
