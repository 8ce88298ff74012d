"""The policy loss as a composition of choices: a ratio, a surrogate, a correction, a pull to a reference, a weight for every token.

Legend: B responses of a micro-batch, T response tokens. Nothing here knows of ranks or micro-batches: `learner.loss.reductions` gives
the token weights of the whole update, so the losses and statistics of its parts are added up.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from configs.presets import Objective, Preset
from learner.loss.correction import Mismatch, factor
from learner.loss.kl import ESTIMATORS
from learner.loss.surrogates import LOG_RATIO_LIMIT, SURROGATES, Tokens, row_mean

MAXIMA = frozenset({"max_abs_log_ratio"})  # the statistics that combine by max; all others are sums


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """Detached inputs of the loss. Masked slots may hold NaN or infinity."""

    old_logprobs: Tensor  # [B, T], log-probs in the ratio's denominator
    advantages: Tensor  # [B] or [B, T]
    mask: Tensor  # [B, T] bool, True on tokens to learn from
    token_weight: Tensor  # [B, T]
    engine_logprobs: Tensor | None = None  # [B, T], the engine's log-probs of the tokens it sampled
    reference_logprobs: Tensor | None = None  # [B, T]
    log_shift: Tensor | None = None  # [B, T], added to the log-ratio: RSPO's floored router shift, arXiv 2510.23027

    def cleaned(self) -> "LossInputs":
        """The same with 0 in every masked slot. This comes before any arithmetic, because 0 * inf in a gradient is NaN."""
        spread = self.advantages[:, None].expand_as(self.mask) if self.advantages.dim() == 1 else self.advantages
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("mask", "advantages")}
        kept = {name: masked(self.mask, value) for name, value in values.items() if value is not None}
        return replace(self, advantages=masked(self.mask, spread), **kept)


def policy_loss(objective: Objective, logprobs: Tensor, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of token losses to minimise, and the sums that describe it.

    Masked slots of any input add nothing and get a gradient of exactly 0. If all are masked, the loss is a 0 that still depends on every
    input of the graph.
    """
    inputs, logprobs = inputs.cleaned(), masked(inputs.mask, logprobs)
    tokens = view(objective.preset, logprobs, inputs)
    surrogate = objective.preset.surrogate
    loss, limited = SURROGATES[type(surrogate)](surrogate, tokens)
    weight, corrected = _correct(objective, tokens, inputs)
    loss = loss * weight
    sums = _describe(tokens, limited, corrected)
    if inputs.reference_logprobs is not None:
        x = logprobs - inputs.reference_logprobs
        if objective.kl.in_loss:
            ratio = _token_ratio(logprobs, inputs.old_logprobs, inputs.mask)
            loss = loss + objective.kl.coefficient * ESTIMATORS[objective.kl.estimator](x, ratio)
        sums["reference_kl"] = masked(inputs.mask, ESTIMATORS["k3"](x.detach(), x)).sum(dtype=torch.float64)
    return (masked(inputs.mask, loss) * inputs.token_weight).sum(), sums


def view(preset: Preset, logprobs: Tensor, inputs: LossInputs) -> Tokens:
    """The inputs of the surrogate, from inputs with 0 in their masked slots."""
    # Shifted before the ratio is computed, so that a sequence's mean includes the shift.
    shifted = inputs.old_logprobs if inputs.log_shift is None else inputs.old_logprobs - inputs.log_shift
    return Tokens(
        logprobs=logprobs,
        old=inputs.old_logprobs,
        log_ratio=RATIOS[preset.ratio](logprobs, shifted, inputs.mask),
        log_mismatch=torch.zeros_like(inputs.old_logprobs)
        if inputs.engine_logprobs is None
        else inputs.old_logprobs - inputs.engine_logprobs,
        advantages=inputs.advantages,
        mask=inputs.mask,
    )


def _token_ratio(logprobs: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """Each token's own ratio, as in PPO, arXiv 1707.06347."""
    return (logprobs - old).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _sequence_ratio(logprobs: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """The geometric mean over a response at each of its tokens, in GSPO-token's form: arXiv 2507.18071, equations 7 and 14.

    Every token has the value of the sequence ratio and its own gradient. With one advantage for each response this is exactly GSPO; with
    one for each token it is GSPO-token.
    """
    mean = row_mean((logprobs - old).detach(), mask)
    return (mean + (logprobs - logprobs.detach())).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


RATIOS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"token": _token_ratio, "sequence": _sequence_ratio}


def _correct(objective: Objective, tokens: Tokens, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
    """The correction's factor [B, T], 1 where nothing is corrected."""
    if inputs.engine_logprobs is None or not objective.correction.uses_engine:
        return torch.ones_like(tokens.old), {}
    fallen = inputs.engine_logprobs - tokens.logprobs.detach()
    return factor(
        objective.correction, Mismatch(log_mismatch=tokens.log_mismatch, fallen=fallen, advantages=tokens.advantages, mask=tokens.mask)
    )


@torch.no_grad()
def _describe(tokens: Tokens, limited: Tensor, corrected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums over unmasked tokens, float64 scalars; divide by `tokens` after adding up. `kl` is k3 of old against new policy."""
    ratio, per_token = tokens.log_ratio.exp(), _token_ratio(tokens.logprobs, tokens.old, tokens.mask)
    up, down = tokens.advantages > 0, tokens.advantages < 0
    sums = {
        "tokens": tokens.mask,
        "clipped_positive_high": limited & up & (ratio > 1),
        "clipped_positive_low": limited & up & (ratio < 1),
        "clipped_negative_high": limited & down & (ratio > 1),
        "clipped_negative_low": limited & down & (ratio < 1),
        "ratio": ratio,
        "kl": per_token.exp() - 1 - per_token,
        "abs_log_ratio": per_token.abs(),
        **corrected,
    }
    largest = per_token.abs().amax() if per_token.numel() else per_token.new_zeros(())
    return {name: masked(tokens.mask, value).sum(dtype=torch.float64) for name, value in sums.items()} | {
        "max_abs_log_ratio": largest.double()
    }


def masked(mask: Tensor, values: Tensor) -> Tensor:
    """The values where the mask is True, 0 elsewhere."""
    return torch.where(mask, values, torch.zeros_like(values))
