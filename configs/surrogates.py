"""The surrogates of a loss by name, each with the settings that it reads; `learner.loss.surrogates` computes them.

A setting has the name of its key in `[objective]`. All of them are above 0, except `pull`, which may be 0.
"""

from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """PPO's clip: the ratio stays between 1 - clip_low and 1 + clip_high."""

    name: ClassVar = "clip"
    clip_low: float
    clip_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DualClip:
    """PPO's clip with a largest loss: `cap` in units of |advantage|."""

    name: ClassVar = "dual_clip"
    clip_low: float
    clip_high: float
    cap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cispo:
    """The detached ratio as a weight between 1 - clip_low and 1 + clip_high."""

    name: ClassVar = "cispo"
    clip_low: float
    clip_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gmpo:
    """A geometric mean of ratios, each with its logarithm between -clip_low and clip_high."""

    name: ClassVar = "gmpo"
    clip_low: float
    clip_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sapo:
    """A soft gate instead of a clip, with a steepness for positive and one for negative advantages."""

    name: ClassVar = "sapo"
    tau_positive: float
    tau_negative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinforce:
    """The log-prob times the advantage, without a ratio."""

    name: ClassVar = "reinforce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Minirl:
    """The ratio to the engine as a weight of at most `cap`; tokens that PPO would clip are dropped."""

    name: ClassVar = "minirl"
    clip_low: float
    clip_high: float
    cap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DppoTv:
    """The ratio; dropped where the token's probability moved by more than the bounds. `pull` weighs the squared log-ratio."""

    name: ClassVar = "dppo_tv"
    clip_low: float
    clip_high: float
    pull: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DppoKl:
    """The ratio; dropped where the KL of old to new policy, taken as choosing this token or any other, exceeds the bounds."""

    name: ClassVar = "dppo_kl"
    clip_low: float
    clip_high: float


Surrogate = Clip | DualClip | Cispo | Gmpo | Sapo | Reinforce | Minirl | DppoTv | DppoKl
ClippedRatio = Clip | DualClip | Minirl  # clip_low and clip_high mean the same in these

KINDS: tuple[type[Surrogate], ...] = (Clip, DualClip, Cispo, Gmpo, Sapo, Reinforce, Minirl, DppoTv, DppoKl)
SURROGATES: dict[str, type[Surrogate]] = {kind.name: kind for kind in KINDS}


def settings_of(kind: type[Surrogate]) -> tuple[str, ...]:
    """The keys of `[objective]` that a surrogate reads."""
    return tuple(field.name for field in fields(kind))


SETTINGS = tuple(dict.fromkeys(key for kind in KINDS for key in settings_of(kind)))
