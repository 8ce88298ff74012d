"""How the rewards of one group become advantages: who did better than the group, and by how much."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rollout.types import GroupSummary

Floats = NDArray[np.float64]

EPSILON = 1e-6  # added to the standard deviation, as verl and slime do; the papers leave it open
TOLERANCE = 1e-6  # a group whose rewards differ by less carries no signal, only rounding noise


def standardised(rewards: Floats) -> Floats:
    """Distance to the group's mean in sample standard deviations [G] -> [G]; DeepSeekMath, arXiv 2402.03300, section 4.1.2."""
    return _among_survivors(rewards, lambda r: (r - r.mean()) / (r.std(ddof=1) + EPSILON))


def centred(rewards: Floats) -> Floats:
    """Distance to the group's mean [G] -> [G]; Dr.GRPO, arXiv 2503.20783."""
    return _among_survivors(rewards, lambda r: r - r.mean())


ADVANTAGES: dict[str, Callable[[Floats], Floats]] = {"standardised": standardised, "centred": centred}


def _among_survivors(rewards: Floats, compare: Callable[[Floats], Floats]) -> Floats:
    """Compare the scored members of a group; a failed one (NaN), a lone survivor and an all-equal group get exactly 0."""
    survives = np.isfinite(rewards)
    advantages = np.zeros(rewards.shape, np.float64)
    if differ(rewards[survives]):
        advantages[survives] = compare(rewards[survives])
    return advantages


def differ(values: Floats) -> bool:
    """Say whether at least two finite values are there and not all alike.

    The extremes are compared as well as the spread: equal values far from 0 have a spread that is pure rounding.
    """
    return values.size > 1 and bool(values.max() != values.min()) and bool(values.std(ddof=1) >= TOLERANCE)


def has_signal(summary: GroupSummary) -> bool:
    """Say whether the raw correctness of a group's scored responses varies: DAPO's dynamic sampling, arXiv 2503.14476.

    Shaped rewards are not asked: a length penalty makes a group of all-wrong answers vary without teaching anything.
    """
    return differ(summary.correct[np.isfinite(summary.correct) & ~summary.aborted])
