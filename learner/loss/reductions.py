"""The weight of every token in the loss of an update, fixed before any forward pass.

The loss is the sum of weight times token loss, so the losses of micro-batches and ranks add up to the update's, however it is divided.

Responses that are not learned (failed, aborted, truncated under the overlong filter) have weight 0 and do not count in the
denominators. A token that the mismatch correction rejects keeps its weight and gets loss 0, so it counts in the denominator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The N responses of one update, as a reduction sees them."""

    lengths: NDArray[np.int64]  # [N], tokens
    learned: NDArray[np.bool_]  # [N]
    group: NDArray[np.int64]  # [N], the group of each response
    budget: int  # most tokens of a response

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which responses are learned and have at least one token [N]."""
        learned: NDArray[np.bool_] = self.learned & (self.lengths > 0)
        return learned

    def per_group(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """`values` summed over the counted responses of each response's group [N] -> [N], at least 1."""
        summed = np.bincount(self.group, weights=np.where(self.counted, values, 0))[self.group]
        return np.maximum(1, summed.astype(np.int64))

    def spread(self, weights: NDArray[np.float64]) -> Weights:
        """The weights, with 0 for responses that do not count."""
        return np.where(self.counted, weights, 0.0)


def token_mean(extent: Extent) -> Weights:
    """Mean over all learned tokens of the update; DAPO, arXiv 2503.14476, equation 8 with one normaliser for all prompts."""
    return extent.spread(np.full(len(extent.lengths), 1 / max(1, extent.lengths[extent.counted].sum())))


def prompt_token_mean(extent: Extent) -> Weights:
    """Mean over prompts of the mean over their tokens; DAPO's equation 8 and CISPO's equation 4, taken literally."""
    return extent.spread(1 / (_prompts(extent) * extent.per_group(extent.lengths)))


def sequence_mean(extent: Extent) -> Weights:
    """Mean over responses of their token means; GRPO, arXiv 2402.03300, and GSPO, arXiv 2507.18071."""
    return extent.spread(1 / (_responses(extent) * np.maximum(extent.lengths, 1)))


def prompt_mean(extent: Extent) -> Weights:
    """Mean over prompts of the mean over their responses of token means; GRPO's equation 3, also for groups that lost responses."""
    members = extent.per_group(np.ones_like(extent.lengths))
    return extent.spread(1 / (_prompts(extent) * members * np.maximum(extent.lengths, 1)))


def sequence_sum(extent: Extent) -> Weights:
    """Mean over responses of their token sums; RLOO, arXiv 2402.14740, and MiniRL, arXiv 2512.01374."""
    return extent.spread(np.full(len(extent.lengths), 1 / _responses(extent)))


def budget_mean(extent: Extent) -> Weights:
    """Mean over responses of their token sums, divided by the most tokens of a response; Dr.GRPO, arXiv 2503.20783."""
    return sequence_sum(extent) / extent.budget


REDUCTIONS: dict[str, Callable[[Extent], Weights]] = {
    "token_mean": token_mean,
    "prompt_token_mean": prompt_token_mean,
    "sequence_mean": sequence_mean,
    "prompt_mean": prompt_mean,
    "sequence_sum": sequence_sum,
    "budget_mean": budget_mean,
}


def _responses(extent: Extent) -> int:
    return max(1, int(extent.counted.sum()))


def _prompts(extent: Extent) -> int:
    return max(1, len(np.unique(extent.group[extent.counted])))
