"""What the driver adds to Ray: steps of the real controller against a bare loop over the same actors, the same calls and bytes.

Engine, reward and rank are toys that answer at once with 16 responses of 2,048 tokens a group. So a step is nothing but orchestration. The
sides take turns step by step in one process. Bare is what a person would write in twenty lines: it has no window, no ledger, no metrics,
no deadline, and ends with the first actor that dies.

Where all ranks are on one node the tokens of a group are one object for both sides, otherwise an object for each response.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.orchestration_sides import Bare, Seen, Turn, controlled, start_toys, stop_toys
from benchmarks.rounds import CONFIG, OUT, Row, Size, ratio
from cluster.actors.session import ray_session
from configs.loader import load
from configs.schema import Config

GROUPS, QUICK_GROUPS = (64, 256, 1024, 4096), (16, 64)
MOST_APART = 1024  # groups of which each response is an object: more would fill the memory of a small machine
MEMBERS, TOKENS = 16, 2048
PAIRS = 9
MEMORY_GROUPS, MEMORY_STEPS, QUICK_STEPS = 64, 200, 30
SETTLED = 20  # steps after which memory should no longer grow
TOYS = ("rollout.engines=2", "learner.ranks=2", "learner.updates_per_step=1", f"rollout.group_size={MEMBERS}")
RECORD = ("run.save_every=1000000", "run.eval_every=0", "run.report=false")


def measure(size: Size) -> list[Row]:
    """For each number of groups a run whose steps alternate with bare ones, then a long run that shows the driver's memory."""
    full = size.rounds >= PAIRS
    counts, pairs = (GROUPS, PAIRS) if full else (QUICK_GROUPS, size.rounds)
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orchestration-", dir=OUT) as name:
        folder = Path(name)
        together = {count: alternating(config_of(folder, count, pairs + 3), together=True) for count in counts}
        few = [count for count in counts if count <= MOST_APART]
        apart = {count: alternating(config_of(folder / "apart", count, pairs + 3), together=False) for count in few}
        memory = alone(config_of(folder / "memory", MEMORY_GROUPS, MEMORY_STEPS if full else QUICK_STEPS)).memory[SETTLED:]
    return [
        *rows_of("one node", together),
        *rows_of("several nodes", apart),
        *(
            ratio(f"{count} groups: one node / several nodes", seconds_of(together[count].ours), seconds_of(apart[count].ours))
            for count in few
        ),
        Row(what=f"driver memory, {MEMORY_GROUPS} groups, growth", unit="MB a step", values=[growth(memory)]),
        Row(what=f"driver memory, {MEMORY_GROUPS} groups", unit="MB", values=memory),
    ]


def rows_of(where: str, found: Mapping[int, Seen]) -> list[Row]:
    """The figures of one way to pack responses, by the number of groups."""
    slopes = exponents([seconds_of(seen.ours) for seen in found.values()], list(found))
    return [
        *(
            ratio(f"{where}, {count} groups: step / bare Ray", seconds_of(seen.ours), seconds_of(seen.between))
            for count, seen in found.items()
        ),
        *(
            ratio(f"{where}, {count} groups: CPU time of the driver", cpu_of(seen.ours), cpu_of(seen.between))
            for count, seen in found.items()
        ),
        Row(what=f"{where}: exponent of seconds against groups", unit="x", values=slopes),
        *(
            Row(what=f"{where}, {count} groups: {side}", unit="ms a group", values=[1000 * second / count for second in seconds_of(turns)])
            for count, seen in found.items()
            for side, turns in (("step", seen.ours), ("bare Ray", seen.between))
        ),
    ]


def seconds_of(turns: Sequence[Turn]) -> list[float]:
    """Of every turn but the warm-up."""
    return [turn.seconds for turn in turns[1:]]


def cpu_of(turns: Sequence[Turn]) -> list[float]:
    """The same in CPU time of the driver, which other processes disturb less."""
    return [turn.cpu for turn in turns[1:]]


def config_of(folder: Path, groups: int, steps: int, *keys: str) -> Config:
    """The tiny recipe with so many groups of long responses. Nothing is due in its steps but their own record."""
    sizes = [f"rollout.groups_per_step={groups}", f"rollout.max_response_tokens={TOKENS}", f"learner.micro_batch_tokens={8 * TOKENS}"]
    return load(CONFIG, [f"run.dir={folder / str(groups)}", f"run.steps={steps}", *TOYS, *RECORD, *sizes, *keys])


def alternating(config: Config, *, together: bool) -> Seen:
    """A run with a bare step after each of its steps. The first pair is a warm-up. `together`: the tokens of a group are one object."""
    with ray_session(None):
        toys = start_toys(config)
        bare = Bare(config, toys, together=together)
        seen = asyncio.run(controlled(config, toys, bare.step, together=together))
        stop_toys(toys)
    for number, (ours, theirs) in enumerate(zip(seen.ours, seen.between, strict=True)):
        label = f"  {config.rollout.groups_per_step} groups, pair {number or 'of warm-up'}"
        print(f"{label}: step {ours.seconds:.3f} s  bare {theirs.seconds:.3f} s", flush=True)
    return seen


def alone(config: Config) -> Seen:
    """A run without bare steps."""

    async def nothing(_: int) -> None: ...

    with ray_session(None):
        toys = start_toys(config)
        seen = asyncio.run(controlled(config, toys, nothing, together=True))
        stop_toys(toys)
    return seen


def exponents(seconds: Sequence[Sequence[float]], counts: Sequence[int]) -> list[float]:
    """The slope of seconds against groups in log-log, one for each pair; 1 where a group costs the same in a step of any size."""
    return [float(np.polyfit(np.log(counts), np.log(of_pair), 1)[0]) for of_pair in zip(*seconds, strict=True)]


def growth(memory: Sequence[float]) -> float:
    """By how much memory grows a step, by the line that fits best."""
    return float(np.polyfit(range(len(memory)), memory, 1)[0])
