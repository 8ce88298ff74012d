"""What is done about K, the learner's old policy over the engine's: a detached factor on each token's loss, apart from the objective.

K carries what kernels, precision and routing differ in and, where generation runs ahead, the updates since the tokens were sampled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from configs.presets import Correction
from learner.loss.surrogates import LOG_RATIO_LIMIT, row_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """What a correction may look at, each [B, T] and finite; masked slots hold 0."""

    log_k: Tensor  # old policy over engine
    fallen: Tensor  # engine's log-prob minus that of the policy that learns
    advantages: Tensor
    mask: Tensor


@torch.no_grad()
def factor(correction: Correction, mismatch: Mismatch) -> tuple[Tensor, dict[str, Tensor]]:
    """The factor on every token's loss [B, T], and where it was capped, masked or its response dropped."""
    ones = torch.ones_like(mismatch.log_k)
    weight = ones if correction.weight == "none" else statistic(correction.weight, mismatch).exp()
    cap = float("inf") if correction.cap is None else correction.cap
    kept = (
        _inside(statistic(correction.keep, mismatch), correction.keep_low, correction.keep_high) if correction.keep != "all" else ones > 0
    )
    out = torch.where(mismatch.mask, ~_inside(mismatch.log_k, correction.veto_low, correction.veto_high), False)
    vetoed = out.any(-1, keepdim=True).expand_as(out)
    if correction.opsm is not None:
        vetoed = vetoed | ((mismatch.advantages < 0) & (row_mean(mismatch.fallen, mismatch.mask) > correction.opsm))
    found = {"capped": (weight > cap) & kept & ~vetoed, "masked": ~kept & ~vetoed, "vetoed": vetoed}
    return torch.where(kept & ~vetoed, weight.clamp(max=cap), 0), found


def statistic(name: str, mismatch: Mismatch) -> Tensor:
    """The log of a token's own K, of its response's product of K, or of their geometric mean, at each token [B, T]."""
    if name == "token":
        value = mismatch.log_k
    elif name == "sequence":
        value = mismatch.log_k.sum(-1, keepdim=True).expand_as(mismatch.log_k)
    else:
        value = row_mean(mismatch.log_k, mismatch.mask)
    return value.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _inside(log_value: Tensor, low: float | None, high: float | None) -> Tensor:
    """Where the value lies between its bounds, either of which may be absent."""
    value = log_value.exp()
    return (value >= (low or 0.0)) & (value <= (float("inf") if high is None else high))
