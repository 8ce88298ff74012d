"""How the token losses of one update become one number: the weight of every token, fixed before any forward pass.

The loss is the plain sum of weight times token loss, so micro-batches and ranks add up to the update whatever their number.

Responses that are not learned (failed, aborted, truncated under the over-long filter) have loss mask 0, so weight 0, and
leave the denominators too: every sum of the reduction runs over the loss mask. A token that a later correction
rejects is different: its weight stands and its loss becomes 0, so it stays in the denominator.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Lengths = NDArray[np.int64]
Mask = NDArray[np.bool_]


def token_mean(lengths: Lengths, learned: Mask) -> Weights:
    """Mean over all learned tokens of the update [N] -> [N]; DAPO, arXiv 2503.14476, equation 8 with one normaliser for all prompts."""
    tokens = max(1, int(lengths[learned].sum()))
    return np.where(learned & (lengths > 0), 1.0 / tokens, 0.0)


def sequence_mean(lengths: Lengths, learned: Mask) -> Weights:
    """Mean over the learned responses of their token means [N] -> [N]; GRPO, arXiv 2402.03300, and GSPO, arXiv 2507.18071."""
    counted = learned & (lengths > 0)
    return np.where(counted, 1.0 / (max(1, int(counted.sum())) * np.maximum(lengths, 1)), 0.0)


REDUCTIONS: dict[str, Callable[[Lengths, Mask], Weights]] = {"token_mean": token_mean, "sequence_mean": sequence_mean}
