"""The published algorithms as a table of independent choices; `learner.objective` computes what is named here."""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One algorithm: how rewards become advantages, what is compared with the old policy, where it is clipped, how tokens are weighed."""

    advantage: str
    ratio: str  # "token" | "sequence" (geometric mean of the token ratios)
    clip_low: float
    clip_high: float
    reduction: str
    surrogate: str = "clip"  # what becomes of the ratio and the advantage
    dynamic_sampling: bool = False

    def replace(self, **changes: Any) -> "Preset":
        return replace(self, **changes)


ADVANTAGES = ("standardised", "centred")
REDUCTIONS = ("token_mean", "sequence_mean")
SURROGATES = ("clip",)

PRESETS: dict[str, Preset] = {
    # DeepSeekMath, arXiv 2402.03300; clip as in PPO.
    "grpo": Preset(advantage="standardised", ratio="token", clip_low=0.2, clip_high=0.2, reduction="sequence_mean"),
    # arXiv 2503.14476, with the token mean over the whole update.
    "dapo": Preset(advantage="standardised", ratio="token", clip_low=0.2, clip_high=0.28, reduction="token_mean", dynamic_sampling=True),
    # arXiv 2507.18071, section 5.1.
    "gspo": Preset(advantage="standardised", ratio="sequence", clip_low=3e-4, clip_high=4e-4, reduction="sequence_mean"),
}
