"""What becomes of a token's ratio and advantage: the surrogates, each a function of a few lines.

A surrogate gives the loss of every token [B, T] and where the ratio was held back: its gradient stopped, or (CISPO) its weight capped.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.presets import Preset

LOG_RATIO_LIMIT = 20.0  # e^20 = 4.9e8: beyond it exp() is on the way to infinity; the clamp also stops the gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a surrogate may look at, each [B, T] and finite; masked slots hold 0."""

    logprobs: Tensor  # under the policy that learns, with gradient
    old: Tensor
    log_ratio: Tensor  # to the old policy, of the preset's kind, with gradient
    log_mismatch: Tensor  # log K: old policy to engine, 0 where the engine's log-prob is not known
    advantages: Tensor
    mask: Tensor


Surrogate = Callable[[Preset, Tokens], tuple[Tensor, Tensor]]


def clip(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """PPO's pessimistic clip, with a bound for each side; arXiv 1707.06347, equation 7."""
    ratio, low, high = _bounded(preset, tokens)
    loss = -torch.minimum(ratio * tokens.advantages, ratio.clamp(low, high) * tokens.advantages)
    return loss, _beyond(tokens.advantages, ratio, low, high)


def dual_clip(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """PPO's clip whose loss of a bad token also ends, at cap times its advantage; arXiv 1912.09729."""
    loss, held = clip(preset, tokens)
    most = preset.cap * tokens.advantages.abs()
    return torch.minimum(loss, most), held | (loss > most)


def cispo(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """REINFORCE weighted by the clipped, detached ratio, so that no token loses its gradient; MiniMax-M1, arXiv 2506.13585, equation 4."""
    ratio, low, high = _bounded(preset, tokens)
    weight = ratio.detach()
    return -weight.clamp(low, high) * tokens.advantages * tokens.logprobs, (weight < low) | (weight > high)


def gmpo(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The geometric mean of ratios clipped one by one in log space, on the harmful side only; arXiv 2507.20673.

    Its value stands at every token of a response and each token carries its own gradient, as in GSPO-token.
    """
    low, high = -float(preset.clip_low or 0), float(preset.clip_high or 0)
    sign = tokens.advantages.sign()
    held = torch.where(sign < 0, tokens.log_ratio.clamp(min=low), tokens.log_ratio.clamp(max=high))
    log_ratio = torch.where(sign == 0, tokens.log_ratio, held)
    own = log_ratio - log_ratio.detach()
    mean = row_mean(log_ratio.detach(), tokens.mask)
    return -tokens.advantages * (mean + own).exp(), held != tokens.log_ratio


def sapo(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """A soft gate in the place of the clip, steeper for bad tokens; arXiv 2511.20347."""
    positive, negative = (torch.full_like(tokens.advantages, float(tau or 0)) for tau in (preset.tau_positive, preset.tau_negative))
    tau = torch.where(tokens.advantages > 0, positive, negative)
    gate = 4 / tau * torch.sigmoid(tau * (tokens.log_ratio.exp() - 1))
    return -gate * tokens.advantages, torch.zeros_like(tokens.mask)


def reinforce(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The score function without a ratio: right only for the policy that sampled; RLOO, arXiv 2402.14740."""
    return -tokens.advantages * tokens.logprobs, torch.zeros_like(tokens.mask)


def minirl(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """REINFORCE weighted by the detached ratio to the engine, and dropped where PPO would clip; arXiv 2512.01374, equation 7."""
    ratio, low, high = _bounded(preset, tokens)
    dropped = _beyond(tokens.advantages, ratio, low, high)
    weight = (tokens.log_ratio + tokens.log_mismatch).detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    return torch.where(dropped, 0, -weight.clamp(max=preset.cap) * tokens.advantages * tokens.logprobs), dropped


def dppo_tv(preset: Preset, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The ratio, dropped where the token's probability has moved too far the advantage's way, and a pull back; arXiv 2602.04879.

    The pull, prime-rl's, is on every token: `pull` times the squared log-ratio.
    """
    moved = (tokens.logprobs.exp() - tokens.old.exp()).detach()
    dropped = _beyond(tokens.advantages, moved, -float(preset.clip_low or 0), float(preset.clip_high or 0))
    gain = torch.where(dropped, 0, tokens.log_ratio.exp() * tokens.advantages)
    return float(preset.pull or 0) * tokens.log_ratio**2 - gain, dropped


SURROGATES: dict[str, Surrogate] = {
    "clip": clip,
    "dual_clip": dual_clip,
    "cispo": cispo,
    "gmpo": gmpo,
    "sapo": sapo,
    "reinforce": reinforce,
    "minirl": minirl,
    "dppo_tv": dppo_tv,
}


def _bounded(preset: Preset, tokens: Tokens) -> tuple[Tensor, float, float]:
    """The ratio and the bounds that it is to stay within."""
    return tokens.log_ratio.exp(), 1 - float(preset.clip_low or 0), 1 + float(preset.clip_high or 0)


def _beyond(advantages: Tensor, value: Tensor, low: float, high: float) -> Tensor:
    """Where a value has left its bounds in the direction that its advantage drives it."""
    return ((advantages > 0) & (value > high)) | ((advantages < 0) & (value < low))


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over each response's unmasked tokens, at each of its slots [B, T]; masked slots of `values` hold 0."""
    return (values.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)).expand_as(values)
