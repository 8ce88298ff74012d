"""How the token losses of one update become one number: the weight of every token, fixed before any forward pass.

The loss is the plain sum of weight times token loss, so micro-batches and ranks add up to the update whatever their number.

Responses that are not learned (failed, aborted, truncated under the over-long filter) have loss mask 0, so weight 0, and
leave the denominators too: every sum of the reduction runs over the loss mask. A token that the correction of the mismatch
rejects is different: its weight stands and its loss becomes 0, so it stays in the denominator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The responses of one update, N of them, as a reduction sees them."""

    lengths: NDArray[np.int64]  # [N], tokens
    learned: NDArray[np.bool_]  # [N]
    group: NDArray[np.int64]  # [N], which prompt's group a response belongs to
    budget: int  # tokens a response may have

    @property
    def counted(self) -> NDArray[np.bool_]:
        """The responses that are learned and hold a token [N]."""
        learned: NDArray[np.bool_] = self.learned & (self.lengths > 0)
        return learned

    def per_group(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum of `values` over the counted responses of each response's own group [N] -> [N], at least 1."""
        summed = np.bincount(self.group, weights=np.where(self.counted, values, 0))[self.group]
        return np.maximum(1, summed.astype(np.int64))

    def spread(self, weights: NDArray[np.float64]) -> Weights:
        """The weights of the counted responses, 0 for all others."""
        return np.where(self.counted, weights, 0.0)


def token_mean(extent: Extent) -> Weights:
    """Mean over all learned tokens of the update; DAPO, arXiv 2503.14476, equation 8 with one normaliser for all prompts."""
    return extent.spread(np.full(len(extent.lengths), 1 / max(1, extent.lengths[extent.counted].sum())))


def prompt_token_mean(extent: Extent) -> Weights:
    """Mean over prompts of the mean over their tokens; DAPO's equation 8 and CISPO's equation 4 as they read."""
    return extent.spread(1 / (_prompts(extent) * extent.per_group(extent.lengths)))


def sequence_mean(extent: Extent) -> Weights:
    """Mean over responses of their token means; GRPO, arXiv 2402.03300, and GSPO, arXiv 2507.18071."""
    return extent.spread(1 / (_responses(extent) * np.maximum(extent.lengths, 1)))


def prompt_mean(extent: Extent) -> Weights:
    """Mean over prompts of the mean over their responses of token means; GRPO's equation 3 where groups have lost members."""
    members = extent.per_group(np.ones_like(extent.lengths))
    return extent.spread(1 / (_prompts(extent) * members * np.maximum(extent.lengths, 1)))


def sequence_sum(extent: Extent) -> Weights:
    """Mean over responses of their token sums; RLOO, arXiv 2402.14740, and MiniRL, arXiv 2512.01374."""
    return extent.spread(np.full(len(extent.lengths), 1 / _responses(extent)))


def budget_mean(extent: Extent) -> Weights:
    """Mean over responses of their token sums, each over the length a response may have; Dr.GRPO, arXiv 2503.20783."""
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
