"""The published algorithms as tables of independent choices; the modules of `learner` named here compute them."""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One algorithm: how rewards become advantages, what is compared with the old policy, where it is held, how tokens are weighed."""

    advantage: str
    reduction: str
    ratio: str = "token"  # "token" | "sequence" (geometric mean of the token ratios)
    surrogate: str = "clip"  # what becomes of the ratio and the advantage
    clip_low: float | None = None
    clip_high: float | None = None
    cap: float | None = None  # the largest value of what the surrogate holds down
    tau_positive: float | None = None  # steepness of SAPO's gate where the advantage is positive
    tau_negative: float | None = None
    pull: float | None = None  # weight of the squared log-ratio that DPPO adds to every token's loss
    old: str = "learner"  # whose log-probs the ratio is taken to: the learner's at the start of the step, or the engine's (bypass)
    dynamic_sampling: bool = False

    def replace(self, **changes: Any) -> "Preset":
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How the difference K = exp(old - engine) between learner and engine is put right: a detached factor on each token's loss."""

    weight: str = "none"  # which K becomes the factor
    cap: float | None = None  # the factor's largest value
    keep: str = "all"  # which K must lie between keep_low and keep_high; the loss of other tokens becomes 0
    keep_low: float = 0.0
    keep_high: float | None = None
    veto_low: float | None = None  # a response with any token's K outside these is dropped whole
    veto_high: float | None = None
    opsm: float | None = None  # a response with negative advantage whose log-probs fell by more than this on average is dropped

    @property
    def uses_engine(self) -> bool:
        """Whether the engine's log-probs change the loss."""
        return self.weight != "none" or self.keep != "all" or any(x is not None for x in (self.veto_low, self.veto_high, self.opsm))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kl:
    """The pull towards a reference policy."""

    coefficient: float = 0.0
    estimator: str = "ratio_k3"
    place: str = "loss"

    @property
    def in_loss(self) -> bool:
        return self.coefficient > 0 and self.place == "loss"

    @property
    def in_reward(self) -> bool:
        return self.coefficient > 0 and self.place == "reward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """All that decides the loss of an update."""

    preset: Preset
    correction: Correction = Correction()
    kl: Kl = Kl()


ADVANTAGES = ("standardised", "population", "centred", "leave_one_out", "leave_one_out_standardised", "batch_std", "whitened")
REDUCTIONS = ("token_mean", "prompt_token_mean", "sequence_mean", "prompt_mean", "sequence_sum", "budget_mean")
SURROGATES: dict[str, tuple[str, ...]] = {  # each with the settings it reads
    "clip": ("clip_low", "clip_high"),
    "dual_clip": ("clip_low", "clip_high", "cap"),
    "cispo": ("clip_low", "clip_high"),
    "gmpo": ("clip_low", "clip_high"),
    "sapo": ("tau_positive", "tau_negative"),
    "reinforce": (),
    "minirl": ("clip_low", "clip_high", "cap"),
    "dppo_tv": ("clip_low", "clip_high", "pull"),
}
CLIPPED_RATIO = ("clip", "dual_clip", "minirl")  # surrogates that hold the ratio between 1 - clip_low and 1 + clip_high
SETTINGS = tuple(dict.fromkeys(setting for reads in SURROGATES.values() for setting in reads))
ESTIMATORS = ("k1", "k2", "k3", "ratio_k3")
STATISTICS = ("token", "sequence", "geometric")  # of K: each token's, their product over a response, their geometric mean

PRESETS: dict[str, Preset] = {
    # DeepSeekMath, arXiv 2402.03300; clip as in PPO.
    "grpo": Preset(advantage="standardised", clip_low=0.2, clip_high=0.2, reduction="sequence_mean"),
    # arXiv 2503.20783.
    "dr_grpo": Preset(advantage="centred", clip_low=0.2, clip_high=0.2, reduction="budget_mean"),
    # arXiv 2503.14476, with the token mean over the whole update.
    "dapo": Preset(advantage="standardised", clip_low=0.2, clip_high=0.28, reduction="token_mean", dynamic_sampling=True),
    # The same with one mean a prompt, as its equation 8 reads.
    "dapo_prompt": Preset(advantage="standardised", clip_low=0.2, clip_high=0.28, reduction="prompt_token_mean", dynamic_sampling=True),
    # arXiv 2507.18071, section 5.1; with one advantage a response the two are one.
    "gspo": Preset(advantage="standardised", ratio="sequence", clip_low=3e-4, clip_high=4e-4, reduction="sequence_mean"),
    "gspo_token": Preset(advantage="standardised", ratio="sequence", clip_low=3e-4, clip_high=4e-4, reduction="sequence_mean"),
    # MiniMax-M1, arXiv 2506.13585: no lower bound; the upper one is unpublished, 5 as in ScaleRL, arXiv 2510.13786.
    "cispo": Preset(
        advantage="standardised", surrogate="cispo", clip_low=1.0, clip_high=4.0, reduction="token_mean", dynamic_sampling=True
    ),
    # arXiv 2507.20673; bounds of the log-ratio.
    "gmpo": Preset(advantage="standardised", surrogate="gmpo", clip_low=0.4, clip_high=0.4, reduction="sequence_mean"),
    # arXiv 2511.20347.
    "sapo": Preset(advantage="standardised", surrogate="sapo", tau_positive=1.0, tau_negative=1.05, reduction="sequence_mean"),
    # arXiv 2402.14740.
    "rloo": Preset(advantage="leave_one_out", surrogate="reinforce", reduction="sequence_sum"),
    # REINFORCE++ with a group baseline, arXiv 2501.03262.
    "reinforce_pp": Preset(advantage="whitened", clip_low=0.2, clip_high=0.2, reduction="token_mean"),
    # arXiv 2512.01374, equation 7.
    "minirl": Preset(advantage="centred", surrogate="minirl", clip_low=0.2, clip_high=0.27, cap=5.0, reduction="sequence_sum"),
    # The total-variation trust region of arXiv 2602.04879 with prime-rl's constants.
    "dppo_tv": Preset(
        advantage="centred", surrogate="dppo_tv", clip_low=0.2, clip_high=0.2, pull=1e-3, reduction="token_mean", old="engine"
    ),
}

CORRECTIONS: dict[str, Correction] = {
    "none": Correction(),
    # Truncated importance sampling, Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training".
    "tis": Correction(weight="token", cap=2.0),
    "tis_sequence": Correction(weight="sequence", cap=2.0),
    # Masked importance sampling.
    "mis": Correction(weight="token", keep="token", keep_low=0.5, keep_high=2.0),
    "sequence_mis": Correction(weight="sequence", keep="sequence", keep_low=0.5, keep_high=2.0),
    # Ring-1T, arXiv 2510.18855.
    "icepop": Correction(weight="token", keep="token", keep_low=0.5, keep_high=5.0),
    "geometric": Correction(weight="token", cap=2.0, keep="geometric", keep_low=0.99, keep_high=1.01),
    "veto": Correction(veto_low=1e-4),
    # DeepSeek-V3.2, arXiv 2512.02556; its threshold is unpublished.
    "opsm": Correction(opsm=0.5),
    # Decoupled PPO, arXiv 2110.00641 and AReaL, arXiv 2505.24298: K up to 5 carries staleness as well as mismatch.
    "decoupled": Correction(weight="token", keep="token", keep_high=5.0),
}
