"""The correction of the mismatch between learner and engine: a detached factor on each token's loss, independent of the surrogate.

A token's mismatch ratio is exp(old log-prob - engine log-prob). Kernels, precision and routing make it differ from 1; where generation
runs ahead, so do the updates made since the token was sampled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from configs.presets import Correction
from learner.loss.surrogates import LOG_RATIO_LIMIT, row_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The inputs of a correction, each [B, T] and finite; masked slots hold 0."""

    log_mismatch: Tensor  # old log-prob minus the engine's
    fallen: Tensor  # the engine's log-prob minus that of the policy that learns
    advantages: Tensor
    mask: Tensor


@torch.no_grad()
def factor(correction: Correction, mismatch: Mismatch) -> tuple[Tensor, dict[str, Tensor]]:
    """The factor on every token's loss [B, T], and where it was capped, masked, or its whole response vetoed."""
    ones = torch.ones_like(mismatch.log_mismatch)
    weight = ones if correction.weight == "none" else statistic(correction.weight, mismatch).exp()
    cap = float("inf") if correction.cap is None else correction.cap
    kept = (
        _inside(statistic(correction.keep, mismatch), correction.keep_low, correction.keep_high) if correction.keep != "all" else ones > 0
    )
    out = torch.where(mismatch.mask, ~_inside(mismatch.log_mismatch, correction.veto_low, correction.veto_high), False)
    vetoed = out.any(-1, keepdim=True).expand_as(out)
    if correction.opsm is not None:
        vetoed = vetoed | ((mismatch.advantages < 0) & (row_mean(mismatch.fallen, mismatch.mask) > correction.opsm))
    found = {"capped": (weight > cap) & kept & ~vetoed, "masked": ~kept & ~vetoed, "vetoed": vetoed}
    return torch.where(kept & ~vetoed, weight.clamp(max=cap), 0), found


def statistic(name: str, mismatch: Mismatch) -> Tensor:
    """The log of the mismatch ratio at each token [B, T]: the token's own, or its response's product or geometric mean."""
    if name == "token":
        value = mismatch.log_mismatch
    elif name == "sequence":
        value = mismatch.log_mismatch.sum(-1, keepdim=True).expand_as(mismatch.log_mismatch)
    else:
        value = row_mean(mismatch.log_mismatch, mismatch.mask)
    return value.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _inside(log_value: Tensor, low: float | None, high: float | None) -> Tensor:
    """Where the value lies between its bounds; either may be absent."""
    value = log_value.exp()
    return (value >= (low or 0.0)) & (value <= (float("inf") if high is None else high))
