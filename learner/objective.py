"""The policy loss as a composition of choices: a ratio to the old policy, a surrogate of it, a weight for every token.

Legend: B responses of a micro-batch, T response tokens. Nothing here knows of ranks or micro-batches: token weights come from
`learner.reductions` for the whole update, so losses and statistics of its parts are simply added.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.presets import Preset

LOG_RATIO_LIMIT = 20.0  # e^20 = 4.9e8: beyond it exp() is on the way to infinity; the clamp also stops the gradient
MAXIMA = frozenset({"max_abs_log_ratio"})  # the statistics that combine by max; all others are sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a surrogate may look at, each [B, T] and finite; masked slots hold 0."""

    logprobs: Tensor  # under the policy that learns, with gradient
    log_ratio: Tensor  # to the old policy, of the preset's kind, with gradient
    advantages: Tensor
    mask: Tensor


def log_ratio(logprobs: Tensor, old: Tensor, mask: Tensor, kind: str) -> Tensor:
    """Log of new over old policy [B, T]; masked slots may hold anything in either input and get no gradient."""
    return RATIOS[kind](_only(mask, logprobs), _only(mask, old), mask)


def _token_ratio(logprobs: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """Every token against itself, as in PPO, arXiv 1707.06347."""
    return (logprobs - old).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _sequence_ratio(logprobs: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """The geometric mean over a response at each of its tokens, in GSPO-token's form: arXiv 2507.18071, equations 7 and 14.

    Its value is the sequence ratio everywhere and each token carries its own gradient. With one advantage a response that is GSPO
    exactly; with an advantage a token it is GSPO-token.
    """
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    mean = ((logprobs - old).detach().sum(-1, keepdim=True) / count).expand_as(logprobs)
    return (mean + (logprobs - logprobs.detach())).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


RATIOS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"token": _token_ratio, "sequence": _sequence_ratio}


def clip(preset: Preset, tokens: Tokens) -> Tensor:
    """PPO's pessimistic clipped loss [B, T], with a bound for each side; arXiv 1707.06347, equation 7."""
    ratio = tokens.log_ratio.exp()
    clipped = ratio.clamp(1 - preset.clip_low, 1 + preset.clip_high)
    return -torch.minimum(ratio * tokens.advantages, clipped * tokens.advantages)


SURROGATES: dict[str, Callable[[Preset, Tokens], Tensor]] = {"clip": clip}


def policy_loss(
    preset: Preset, logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, token_weight: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of token losses to minimise, and the sums that describe it.

    logprobs, old, token_weight [B, T], advantages [B] or [B, T], mask [B, T] bool. Masked slots may hold NaN or infinity; they add
    nothing and their gradient is exactly 0. With nothing unmasked the loss is a 0 that still reaches every input of the graph.
    """
    spread = advantages[:, None].expand_as(mask) if advantages.dim() == 1 else advantages
    tokens = Tokens(
        logprobs=_only(mask, logprobs),
        log_ratio=log_ratio(logprobs, old, mask, preset.ratio),
        advantages=_only(mask, spread),
        mask=mask,
    )
    loss = (SURROGATES[preset.surrogate](preset, tokens) * _only(mask, token_weight)).sum()
    return loss, _describe(preset, tokens, log_ratio(logprobs.detach(), old, mask, "token"))


@torch.no_grad()
def _describe(preset: Preset, tokens: Tokens, per_token: Tensor) -> dict[str, Tensor]:
    """Sums over unmasked tokens, float64 scalars; divide by `tokens` after adding up. `kl` is k3 of old against new policy."""
    ratio, mask, advantages = tokens.log_ratio.exp(), tokens.mask, tokens.advantages
    sums = {
        "tokens": mask,
        "clipped_low": mask & (advantages < 0) & (ratio < 1 - preset.clip_low),
        "clipped_high": mask & (advantages > 0) & (ratio > 1 + preset.clip_high),
        "ratio": _only(mask, ratio),
        "kl": per_token.exp() - 1 - per_token,
        "abs_log_ratio": per_token.abs(),
    }
    largest = per_token.abs().amax() if mask.numel() else per_token.new_zeros(())
    return {name: value.sum(dtype=torch.float64) for name, value in sums.items()} | {"max_abs_log_ratio": largest.double()}


def _only(mask: Tensor, values: Tensor) -> Tensor:
    """Values where the mask is, 0 elsewhere; chosen before any arithmetic, since 0 * inf in a gradient is NaN."""
    return torch.where(mask, values, torch.zeros_like(values))
