"""Advantages from rewards: how much better a response did than its group.

Each group brings its rewards [G], NaN where a response has none, and the number of learned tokens of each response [G], 0 where it is not
learned. Only advantages that compare responses across groups, and those of `EVERY_TOKEN`, read the tokens.
"""

from collections.abc import Callable, Sequence
from functools import wraps

import numpy as np
from numpy.typing import NDArray

from rollout.types import GroupSummary

Floats = NDArray[np.float64]
Groups = Sequence[Floats]
Advantage = Callable[[Groups, Groups], list[Floats]]

EPSILON = 1e-6  # added to the standard deviation, as verl and slime do; the papers give no value
EVERY_TOKEN = ("length_weighted",)  # advantages that count the tokens of all scored responses, learned or not
ACROSS_GROUPS = ("batch_std", "whitened", "decoupled")  # advantages that compare responses of different groups
TOLERANCE = 1e-6  # a smaller standard deviation is rounding noise, not signal
VARIANCE_FLOOR = 1e-8  # added to the variance when whitening, as verl does


def within_the_group(compare: Callable[[Floats], Floats]) -> Advantage:
    """Compare the scored responses of each group. Failed ones (NaN), a lone scored one and equal rewards get exactly 0."""

    @wraps(compare)
    def compared(rewards: Groups, tokens: Groups) -> list[Floats]:
        return [_among_survivors(group, compare) for group in rewards]

    return compared


@within_the_group
def standardised(rewards: Floats) -> Floats:
    """Distance to the group's mean in sample standard deviations; DeepSeekMath, arXiv 2402.03300, section 4.1.2."""
    return (rewards - rewards.mean()) / (rewards.std(ddof=1) + EPSILON)


@within_the_group
def population(rewards: Floats) -> Floats:
    """Distance to the group's mean in standard deviations of the group itself, without Bessel's correction."""
    return (rewards - rewards.mean()) / (rewards.std() + EPSILON)


@within_the_group
def centred(rewards: Floats) -> Floats:
    """Distance to the group's mean; Dr.GRPO, arXiv 2503.20783."""
    return rewards - rewards.mean()


@within_the_group
def leave_one_out(rewards: Floats) -> Floats:
    """Distance to the mean of the other responses; RLOO, arXiv 2402.14740."""
    return (rewards - rewards.mean()) * rewards.size / (rewards.size - 1)


@within_the_group
def leave_one_out_standardised(rewards: Floats) -> Floats:
    """Distance to the mean of the other responses in their standard deviations, undivided where those are equal; NeMo-RL's default."""
    others = [np.delete(rewards, i) for i in range(rewards.size)]
    distance = np.array([reward - other.mean() for reward, other in zip(rewards, others, strict=True)])
    spread = np.array([other.std(ddof=1) if differ(other) else np.nan for other in others])
    return np.where(np.isnan(spread), distance, distance / (spread + EPSILON))


def batch_std(rewards: Groups, tokens: Groups) -> list[Floats]:
    """Distance to the group's mean in standard deviations of all rewards of the step; ScaleRL, arXiv 2510.13786."""
    scored = np.concatenate(rewards)
    scored = scored[np.isfinite(scored)]
    spread = scored.std(ddof=1) if differ(scored) else 0.0
    return [group / (spread + EPSILON) for group in centred(rewards, tokens)]


def whitened(rewards: Groups, tokens: Groups) -> list[Floats]:
    """Distance to the group's mean, whitened over all learned tokens of the step; REINFORCE++ with baseline, arXiv 2501.03262.

    Whitening shifts every response by the same amount, also those of a group with equal rewards. If no group's rewards differ, all are 0.
    """
    centres = centred(rewards, tokens)
    values, weights = np.concatenate(centres), np.concatenate(tokens)
    if not differ(values[weights > 0]):
        return [np.zeros_like(group) for group in centres]
    mean = np.average(values, weights=weights)
    variance = (weights * (values - mean) ** 2).sum() / (weights.sum() - 1)
    return [
        np.where(count > 0, (group - mean) / np.sqrt(variance + VARIANCE_FLOOR), 0.0) for group, count in zip(centres, tokens, strict=True)
    ]


@within_the_group
def mean_normalised(rewards: Floats) -> Floats:
    """Distance to the group's mean in units of that mean; MaxRL, arXiv 2602.02710.

    In expectation it ascends the log-likelihood of a success, truncated at order G. ValueError for a negative reward: the mean is the
    estimate of a probability.
    """
    if rewards.min() < 0:
        raise ValueError(
            f'got a reward of {rewards.min():g}, but the advantage "mean_normalised" divides by the mean reward and needs rewards of 0 '
            'and more: let checkers and parts return 0 to 1, or use objective.advantage = "standardised"'
        )
    return rewards / rewards.mean() - 1


def length_weighted(rewards: Groups, tokens: Groups) -> list[Floats]:
    """Distance to the group's mean weighted by length, the baseline of least variance; OPO, arXiv 2505.23585.

    It reads the tokens of all scored responses. An empty response has no weight.
    """
    return [_among_survivors(group, _from_weighted_mean(count[np.isfinite(group)])) for group, count in zip(rewards, tokens, strict=True)]


def _from_weighted_mean(weights: Floats) -> Callable[[Floats], Floats]:
    return lambda rewards: rewards - (np.average(rewards, weights=weights) if weights.any() else rewards.mean())


def decoupled(rewards: Groups, tokens: Groups) -> list[Floats]:
    """GDPO of a reward with a single part; `decouple` is the general form."""
    return decouple([(1.0, rewards)])


def decouple(parts: Sequence[tuple[float, Groups]]) -> list[Floats]:
    """The parts of a reward, each standardised in its group, added up with their weights, over the spread of all sums of the step.

    GDPO, arXiv 2601.05242, section 3. A part is its weight and its numbers [G] for every group, NaN where a response has no reward. The
    mean over the batch needs no subtraction: every group's sums have mean 0, and the rounding of that 0 would teach.
    """
    first = parts[0][1]
    compared = [np.isfinite(group) & (np.isfinite(group).sum() > 1) for group in first]
    sums = [np.zeros(group.shape, np.float64) for group in first]
    for weight, groups in parts:
        sums = [total + weight * own for total, own in zip(sums, standardised(groups, groups), strict=True)]
    sums = [total if differ(total[chosen]) else np.zeros_like(total) for total, chosen in zip(sums, compared, strict=True)]
    over = np.concatenate([total[chosen] for total, chosen in zip(sums, compared, strict=True)])
    return [total / (over.std(ddof=1) + EPSILON) if differ(over) else total for total in sums]


def none(rewards: Groups, tokens: Groups) -> list[Floats]:
    """0 for every response: rewards are reported and teach nothing, as in distillation from a reference."""
    return [np.zeros_like(group) for group in rewards]


ADVANTAGES: dict[str, Advantage] = {
    "standardised": standardised,
    "population": population,
    "centred": centred,
    "leave_one_out": leave_one_out,
    "leave_one_out_standardised": leave_one_out_standardised,
    "batch_std": batch_std,
    "whitened": whitened,
    "decoupled": decoupled,
    "mean_normalised": mean_normalised,
    "length_weighted": length_weighted,
    "none": none,
}


def _among_survivors(rewards: Floats, compare: Callable[[Floats], Floats]) -> Floats:
    survives = np.isfinite(rewards)
    advantages = np.zeros(rewards.shape, np.float64)
    if differ(rewards[survives]):
        advantages[survives] = compare(rewards[survives])
    return advantages


def differ(values: Floats) -> bool:
    """Say whether there are at least two values and they differ.

    It compares the extremes as well as the spread: equal values far from 0 have a spread that is only rounding.
    """
    return values.size > 1 and bool(values.max() != values.min()) and bool(values.std(ddof=1) >= TOLERANCE)


def has_signal(summary: GroupSummary, parts: Sequence[Floats] = ()) -> bool:
    """Say whether the raw correctness of a group's scored responses varies: DAPO's dynamic sampling, arXiv 2503.14476.

    Shaped rewards do not count: a length penalty makes rewards of an all-wrong group differ, and teaches nothing. Where an advantage
    compares the parts of the reward one by one, `parts` are those that count instead: one that varies is enough.
    """
    scored = np.isfinite(summary.correct) & ~summary.aborted
    return any(differ(part[scored]) for part in parts or [summary.correct])
