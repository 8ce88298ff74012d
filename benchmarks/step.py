"""A training step against its stages, in real runs with and without stale generation.

A run's own clock attributes all waiting of a step, so its laps always add up to the step. Here a step is the time between two entries
of the ledger, and overlapping stages are compared with those of the runs without overlap.
"""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.mixture import keys, write_mixture
from benchmarks.rounds import Row, Size
from benchmarks.trained import STAGES, WARM_UP, trained

ONE_THREAD = ("rollout.threads=1", "learner.threads=1")  # at once each role has one core, so in turns it may have no more
MIXTURE_STEPS, MIXTURE_WARM_UP = 6, 2


def measure(size: Size) -> list[Row]:
    """Both recipes: the tiny one, whose steps are mostly calls, and a mixture of 57M parameters, whose steps are mostly computing."""
    write_mixture()
    long = replace(size, steps=MIXTURE_STEPS, runs=1)
    return [*compared("", [], size, WARM_UP), *compared("57M mixture, ", keys(), long, MIXTURE_WARM_UP)]


def compared(recipe: str, given: Sequence[str], size: Size, warm_up: int) -> list[Row]:
    """Short runs with staleness 0 and 1 in turns; each row has one figure per run."""
    alternating: list[dict[str, float]] = []
    overlapping: list[dict[str, float]] = []
    for number in range(size.runs):
        for staleness, kept in ((0, alternating), (1, overlapping)):
            what = f"run.max_staleness={staleness}"
            label = f"{recipe}run {number + 1}/{size.runs} with {what}"
            kept.append(trained(size.steps, [*given, what, *ONE_THREAD], label, warm_up=warm_up))
    sums = [sum(run[stage] for stage in STAGES) for run in alternating]
    largest = [max(run[stage] for stage in STAGES) for run in alternating]
    busy = [max(run["generate"], run["learn"] + run["publish"]) for run in alternating]
    rows = []
    for staleness, runs in ((0, alternating), (1, overlapping)):
        steps = [run["step"] for run in runs]
        rows += [
            Row(what=f"staleness {staleness}: step / sum of stages of staleness 0", unit="x", values=over(steps, sums)),
            Row(what=f"staleness {staleness}: step / largest stage of staleness 0", unit="x", values=over(steps, largest)),
            Row(what=f"staleness {staleness}: step", unit="s", values=steps),
            *(
                Row(what=f"staleness {staleness}: {name}", unit="s", values=[run[name] for run in runs])
                for name in runs[0]
                if name != "step"
            ),
        ]
    ahead = [run["step"] for run in overlapping]
    rows += [
        Row(what="step, staleness 1 / staleness 0", unit="x", values=over(ahead, [run["step"] for run in alternating])),
        Row(what="staleness 1: step / max(generate, learn + publish) of staleness 0", unit="x", values=over(ahead, busy)),
    ]
    return [replace(row, what=f"{recipe}{row.what}") for row in rows]


def over(values: Sequence[float], references: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(values, references, strict=True)]
