"""The policy loss as a composition of choices: a ratio, a surrogate, a correction, a pull to a reference, a weight for every token.

Legend: B responses of a micro-batch, T response tokens. Nothing here knows of ranks or micro-batches: token weights come from
`learner.loss.reductions` for the whole update, so losses and statistics of its parts are simply added.
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
    """What the loss takes as it is, without gradient. Masked slots may hold NaN or infinity."""

    old: Tensor  # [B, T], log-probs that the ratio is taken to
    advantages: Tensor  # [B] or [B, T]
    mask: Tensor  # [B, T] bool, True on tokens to learn from
    token_weight: Tensor  # [B, T]
    engine: Tensor | None = None  # [B, T], log-probs under which the tokens were sampled
    reference: Tensor | None = None  # [B, T]
    log_shift: Tensor | None = None  # [B, T], added to the log-ratio: RSPO's floored router shift, arXiv 2510.23027

    def cleaned(self) -> "LossInputs":
        """The same with 0 in every masked slot; chosen before any arithmetic, since 0 * inf in a gradient is NaN."""
        spread = self.advantages[:, None].expand_as(self.mask) if self.advantages.dim() == 1 else self.advantages
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("mask", "advantages")}
        kept = {name: masked(self.mask, value) for name, value in values.items() if value is not None}
        return replace(self, advantages=masked(self.mask, spread), **kept)


def policy_loss(objective: Objective, logprobs: Tensor, given: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of token losses to minimise, and the sums that describe it.

    Masked slots of any input add nothing and get a gradient of exactly 0. With nothing unmasked the loss is a 0 that still reaches every
    input of the graph.
    """
    given, logprobs = given.cleaned(), masked(given.mask, logprobs)
    tokens = view(objective.preset, logprobs, given)
    loss, held = SURROGATES[objective.preset.surrogate](objective.preset, tokens)
    weight, corrected = _correct(objective, tokens, given)
    loss = loss * weight
    sums = _describe(tokens, held, corrected)
    if given.reference is not None:
        x = logprobs - given.reference
        if objective.kl.in_loss:
            loss = loss + objective.kl.coefficient * ESTIMATORS[objective.kl.estimator](x, _token_ratio(logprobs, given.old, given.mask))
        sums["reference_kl"] = masked(given.mask, ESTIMATORS["k3"](x.detach(), x)).sum(dtype=torch.float64)
    return (masked(given.mask, loss) * given.token_weight).sum(), sums


def view(preset: Preset, logprobs: Tensor, given: LossInputs) -> Tokens:
    """What the surrogate may look at; every input has 0 in its masked slots."""
    # Before the ratio is taken, so that a sequence's mean is over shifted tokens.
    start = given.old if given.log_shift is None else given.old - given.log_shift
    return Tokens(
        logprobs=logprobs,
        old=given.old,
        log_ratio=RATIOS[preset.ratio](logprobs, start, given.mask),
        log_mismatch=torch.zeros_like(given.old) if given.engine is None else given.old - given.engine,
        advantages=given.advantages,
        mask=given.mask,
    )


def _token_ratio(logprobs: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """Every token against itself, as in PPO, arXiv 1707.06347."""
    return (logprobs - old).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _sequence_ratio(logprobs: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """The geometric mean over a response at each of its tokens, in GSPO-token's form: arXiv 2507.18071, equations 7 and 14.

    Its value is the sequence ratio everywhere and each token carries its own gradient. With one advantage a response that is GSPO
    exactly; with an advantage a token it is GSPO-token.
    """
    mean = row_mean((logprobs - old).detach(), mask)
    return (mean + (logprobs - logprobs.detach())).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


RATIOS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"token": _token_ratio, "sequence": _sequence_ratio}


def _correct(objective: Objective, tokens: Tokens, given: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
    """The correction's factor [B, T], all ones where nothing is corrected."""
    if given.engine is None or not objective.correction.uses_engine:
        return torch.ones_like(tokens.old), {}
    fallen = given.engine - tokens.logprobs.detach()
    return factor(objective.correction, Mismatch(log_k=tokens.log_mismatch, fallen=fallen, advantages=tokens.advantages, mask=tokens.mask))


@torch.no_grad()
def _describe(tokens: Tokens, held: Tensor, corrected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums over unmasked tokens, float64 scalars; divide by `tokens` after adding up. `kl` is k3 of old against new policy."""
    ratio, per_token = tokens.log_ratio.exp(), _token_ratio(tokens.logprobs, tokens.old, tokens.mask)
    up, down = tokens.advantages > 0, tokens.advantages < 0
    sums = {
        "tokens": tokens.mask,
        "clipped_positive_high": held & up & (ratio > 1),
        "clipped_positive_low": held & up & (ratio < 1),
        "clipped_negative_high": held & down & (ratio > 1),
        "clipped_negative_low": held & down & (ratio < 1),
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
    """Values where the mask is, 0 elsewhere."""
    return torch.where(mask, values, torch.zeros_like(values))
