"""The surrogates: how a token's ratio and advantage become its loss, each in a function of a few lines.

A surrogate returns the loss of every token [B, T] and where it limited the ratio: it stopped the gradient or (CISPO) capped the weight.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from configs.surrogates import Cispo, Clip, ClippedRatio, DppoKl, DppoTv, DualClip, Gmpo, Minirl, Reinforce, Sapo, Surrogate

LOG_RATIO_LIMIT = 20.0  # e^20 = 4.9e8: beyond it exp() is on the way to infinity; the clamp also stops the gradient
SMALLEST_REST = 1e-8  # of the probability of all other tokens: float32 rounds that of a certain token's to 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The inputs of a surrogate, each [B, T] and finite; masked slots hold 0."""

    logprobs: Tensor  # of the policy, with gradient
    old: Tensor
    log_ratio: Tensor  # policy over old policy, per token or per sequence as the preset says, with gradient
    log_mismatch: Tensor  # log K: old policy over engine, 0 where the engine's log-prob is unknown
    advantages: Tensor
    mask: Tensor


def clip(settings: ClippedRatio, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """PPO's pessimistic clip, with a bound for each side; arXiv 1707.06347, equation 7."""
    ratio, low, high = _bounded(settings, tokens)
    loss = -torch.minimum(ratio * tokens.advantages, ratio.clamp(low, high) * tokens.advantages)
    return loss, _beyond(tokens.advantages, ratio, low, high)


def dual_clip(settings: DualClip, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """PPO's clip, with the loss of a token at most cap times its |advantage|; arXiv 1912.09729."""
    loss, held = clip(settings, tokens)
    most = settings.cap * tokens.advantages.abs()
    return torch.minimum(loss, most), held | (loss > most)


def cispo(settings: Cispo, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """REINFORCE weighted by the clipped, detached ratio, so that no token loses its gradient; MiniMax-M1, arXiv 2506.13585, equation 4."""
    ratio, low, high = _bounded(settings, tokens)
    weight = ratio.detach()
    return -weight.clamp(low, high) * tokens.advantages * tokens.logprobs, (weight < low) | (weight > high)


def gmpo(settings: Gmpo, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The geometric mean of ratios clipped one by one in log space, on the harmful side only; arXiv 2507.20673.

    Every token of a response has this value and its own gradient, as in GSPO-token.
    """
    low, high = -settings.clip_low, settings.clip_high
    sign = tokens.advantages.sign()
    held = torch.where(sign < 0, tokens.log_ratio.clamp(min=low), tokens.log_ratio.clamp(max=high))
    log_ratio = torch.where(sign == 0, tokens.log_ratio, held)
    own = log_ratio - log_ratio.detach()
    mean = row_mean(log_ratio.detach(), tokens.mask)
    return -tokens.advantages * (mean + own).exp(), held != tokens.log_ratio


def sapo(settings: Sapo, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """A soft gate instead of the clip, steeper for negative advantages; arXiv 2511.20347."""
    positive, negative = (torch.full_like(tokens.advantages, tau) for tau in (settings.tau_positive, settings.tau_negative))
    tau = torch.where(tokens.advantages > 0, positive, negative)
    gate = 4 / tau * torch.sigmoid(tau * (tokens.log_ratio.exp() - 1))
    return -gate * tokens.advantages, torch.zeros_like(tokens.mask)


def reinforce(settings: Reinforce, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The score function without a ratio: correct only for tokens sampled from the policy itself; RLOO, arXiv 2402.14740."""
    return -tokens.advantages * tokens.logprobs, torch.zeros_like(tokens.mask)


def minirl(settings: Minirl, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """REINFORCE weighted by the detached ratio to the engine, and dropped where PPO would clip; arXiv 2512.01374, equation 7."""
    ratio, low, high = _bounded(settings, tokens)
    dropped = _beyond(tokens.advantages, ratio, low, high)
    weight = (tokens.log_ratio + tokens.log_mismatch).detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    return torch.where(dropped, 0, -weight.clamp(max=settings.cap) * tokens.advantages * tokens.logprobs), dropped


def dppo_tv(settings: DppoTv, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The ratio, dropped where the advantage has moved the token's probability too far; arXiv 2602.04879.

    Every token also gets prime-rl's pull to a ratio of 1: `pull` times the squared log-ratio.
    """
    moved = (tokens.logprobs.exp() - tokens.old.exp()).detach()
    dropped = _beyond(tokens.advantages, moved, -settings.clip_low, settings.clip_high)
    gain = torch.where(dropped, 0, tokens.log_ratio.exp() * tokens.advantages)
    return settings.pull * tokens.log_ratio**2 - gain, dropped


def dppo_kl(settings: DppoKl, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The ratio, dropped where the advantage has moved the token too far in binary KL(old, new); arXiv 2602.04879.

    Binary means that each policy chooses this token or any other, so the KL needs the log-probs of the sampled token alone.
    """
    new, old = tokens.logprobs.detach(), tokens.old
    chosen = old.exp()
    divergence = chosen * (old - new) + (1 - chosen) * (_log_of_others(old) - _log_of_others(new))
    dropped = _beyond(tokens.advantages, divergence * (new - old).sign(), -settings.clip_low, settings.clip_high)
    return torch.where(dropped, 0, -tokens.log_ratio.exp() * tokens.advantages), dropped


# Keyed by the type of the settings, which is the type that its function takes.
SURROGATES: dict[type[Surrogate], Callable[[Any, Tokens], tuple[Tensor, Tensor]]] = {
    Clip: clip,
    DualClip: dual_clip,
    Cispo: cispo,
    Gmpo: gmpo,
    Sapo: sapo,
    Reinforce: reinforce,
    Minirl: minirl,
    DppoTv: dppo_tv,
    DppoKl: dppo_kl,
}


def _bounded(settings: ClippedRatio | Cispo, tokens: Tokens) -> tuple[Tensor, float, float]:
    """The ratio, its lower and its upper bound."""
    return tokens.log_ratio.exp(), 1 - settings.clip_low, 1 + settings.clip_high


def _log_of_others(logprobs: Tensor) -> Tensor:
    """The log-prob of all other tokens together, finite where a token is certain."""
    return (-torch.expm1(logprobs)).clamp(min=SMALLEST_REST).log()


def _beyond(advantages: Tensor, value: Tensor, low: float, high: float) -> Tensor:
    """Where a value is outside its bounds, on the side to which its advantage pushes it."""
    return ((advantages > 0) & (value > high)) | ((advantages < 0) & (value < low))


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over each response's unmasked tokens, at each of its slots [B, T]; masked slots of `values` hold 0."""
    return (values.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)).expand_as(values)
