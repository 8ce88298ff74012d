"""The best step of a run, from its lines of metrics: by held-out correctness, else by the smoothed reward of training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from cluster.record.metrics.held_out import UNNAMED, greedy_correctness
from cluster.record.metrics.lines import is_number

SMOOTHED = 10  # steps whose mean reward is that of the last of them
EVALUATIONS = 2  # after the first step, from which a run is judged by them

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Best:
    """A step and what it is the best by."""

    step: int
    value: float
    by: str  # "held-out" or "reward"


def best_step(rows: Sequence[Row], among: Iterable[int] | None = None) -> Best | None:
    """The best of these steps, by default of all; the first of equal ones, None where nothing is known of any.

    Held-out is the mean over the eval sets, at steps that were evaluated. The reward is a mean of SMOOTHED steps, of fewer only where the
    whole run has fewer.
    """
    by, scores = scores_of(rows)
    wanted = scores.keys() if among is None else set(among)
    known = {step: score for step, score in scores.items() if step in wanted}
    if not known:
        return None
    step = max(sorted(known), key=known.__getitem__)
    return Best(step, known[step], by)


def scores_of(rows: Sequence[Row]) -> tuple[str, dict[int, float]]:
    """What steps are compared by, and the score of each."""
    evaluated = {int(row["step"]): mean(found.values()) for row in rows if (found := greedy_correctness(row))}
    if sum(step > 0 for step in evaluated) >= EVALUATIONS:
        return UNNAMED, evaluated
    rewards = [(int(row["step"]), float(reward)) for row in rows if (reward := row.get("reward/mean")) is not None and is_number(reward)]
    width = max(1, min(SMOOTHED, len(rewards)))
    stretches = [rewards[end - width : end] for end in range(width, len(rewards) + 1)]
    return "reward", {stretch[-1][0]: mean(reward for _, reward in stretch) for stretch in stretches}
