"""The published algorithms as tables of independent choices; the modules of `learner.loss` named here compute them."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from configs.surrogates import Cispo, Clip, DppoKl, DppoTv, Gmpo, Minirl, Reinforce, Sapo, Surrogate

Estimator = Literal["k1", "k2", "k3", "k3_clamped", "ratio_k3"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)
Place = Literal["loss", "reward"]
Statistic = Literal["token", "sequence", "geometric"]  # of K: each token's own, the product over a response, their geometric mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One algorithm: how rewards become advantages, how ratio and advantage become a token's loss, how tokens are weighed."""

    advantage: str
    reduction: str
    surrogate: Surrogate
    ratio: str = "token"  # "token" | "sequence" (geometric mean of the token ratios)
    old: str = "learner"  # the log-probs in the ratio's denominator: the learner's at the start of the step, or the engine's (bypass)
    dynamic_sampling: bool = False

    def replace(self, **changes: Any) -> "Preset":
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How the mismatch K = exp(old - engine) between learner and engine is corrected: a detached factor on each token's loss."""

    weight: str = "none"  # which K becomes the factor
    cap: float | None = None  # the factor's largest value
    keep: str = "all"  # which K must lie between keep_low and keep_high; the loss of all other tokens becomes 0
    keep_low: float = 0.0
    keep_high: float | None = None
    veto_low: float | None = None  # a response is dropped if K of any of its tokens lies outside these bounds
    veto_high: float | None = None
    opsm: float | None = None  # a response with a negative advantage is dropped if its log-probs fell by more than this on average

    @property
    def uses_engine(self) -> bool:
        """Whether the engine's log-probs change the loss."""
        return self.weight != "none" or self.keep != "all" or any(x is not None for x in (self.veto_low, self.veto_high, self.opsm))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kl:
    """The pull towards a reference policy."""

    coefficient: float = 0.0
    estimator: Estimator = "ratio_k3"
    place: Place = "loss"

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

    @property
    def acts_without_advantage(self) -> bool:
        """Whether the loss has a gradient where every advantage is 0: from a KL, or from a pull to the old policy."""
        surrogate = self.preset.surrogate
        return self.kl.in_loss or (isinstance(surrogate, DppoTv) and surrogate.pull > 0)


ADVANTAGES = (
    "standardised", "population", "centred", "leave_one_out", "leave_one_out_standardised", "batch_std", "whitened",
    "decoupled", "mean_normalised", "length_weighted", "none",
)  # fmt: skip
REDUCTIONS = ("token_mean", "prompt_token_mean", "sequence_mean", "prompt_mean", "sequence_sum", "budget_mean")

PPO_CLIP = Clip(clip_low=0.2, clip_high=0.2)
DAPO_CLIP = Clip(clip_low=0.2, clip_high=0.28)
GSPO_CLIP = Clip(clip_low=3e-4, clip_high=4e-4)

PRESETS: dict[str, Preset] = {
    # DeepSeekMath, arXiv 2402.03300; clip as in PPO.
    "grpo": Preset(advantage="standardised", surrogate=PPO_CLIP, reduction="sequence_mean"),
    # arXiv 2503.20783.
    "dr_grpo": Preset(advantage="centred", surrogate=PPO_CLIP, reduction="budget_mean"),
    # arXiv 2503.14476, with the token mean over the whole update.
    "dapo": Preset(advantage="standardised", surrogate=DAPO_CLIP, reduction="token_mean", dynamic_sampling=True),
    # The same with one mean for each prompt, as in its equation 8.
    "dapo_prompt": Preset(advantage="standardised", surrogate=DAPO_CLIP, reduction="prompt_token_mean", dynamic_sampling=True),
    # arXiv 2507.18071, section 5.1; the two are equal, as all tokens of a response have one advantage.
    "gspo": Preset(advantage="standardised", ratio="sequence", surrogate=GSPO_CLIP, reduction="sequence_mean"),
    "gspo_token": Preset(advantage="standardised", ratio="sequence", surrogate=GSPO_CLIP, reduction="sequence_mean"),
    # MiniMax-M1, arXiv 2506.13585: no lower bound; the upper one is unpublished, 5 as in ScaleRL, arXiv 2510.13786.
    "cispo": Preset(advantage="standardised", surrogate=Cispo(clip_low=1.0, clip_high=4.0), reduction="token_mean", dynamic_sampling=True),
    # arXiv 2507.20673; its bounds are for the log-ratio.
    "gmpo": Preset(advantage="standardised", surrogate=Gmpo(clip_low=0.4, clip_high=0.4), reduction="sequence_mean"),
    # arXiv 2511.20347.
    "sapo": Preset(advantage="standardised", surrogate=Sapo(tau_positive=1.0, tau_negative=1.05), reduction="sequence_mean"),
    # arXiv 2402.14740.
    "rloo": Preset(advantage="leave_one_out", surrogate=Reinforce(), reduction="sequence_sum"),
    # REINFORCE++ with a group baseline, arXiv 2501.03262.
    "reinforce_pp": Preset(advantage="whitened", surrogate=PPO_CLIP, reduction="token_mean"),
    # arXiv 2512.01374, equation 7.
    "minirl": Preset(advantage="centred", surrogate=Minirl(clip_low=0.2, clip_high=0.27, cap=5.0), reduction="sequence_sum"),
    # The total-variation trust region of arXiv 2602.04879 with prime-rl's constants.
    "dppo_tv": Preset(advantage="centred", surrogate=DppoTv(clip_low=0.2, clip_high=0.2, pull=1e-3), reduction="token_mean", old="engine"),
    # The same with the binary KL; the bound is that of public implementations.
    "dppo_kl": Preset(advantage="centred", surrogate=DppoKl(clip_low=0.05, clip_high=0.05), reduction="token_mean", old="engine"),
    # arXiv 2601.05242: GRPO with every part of the reward compared by itself.
    "gdpo": Preset(advantage="decoupled", surrogate=PPO_CLIP, reduction="sequence_mean"),
    # arXiv 2602.02710. Its estimator sums over tokens, which a token mean does up to one factor for the whole update.
    "maxrl": Preset(advantage="mean_normalised", surrogate=PPO_CLIP, reduction="token_mean"),
    # arXiv 2505.23585: exactly on-policy, so without a ratio.
    "opo": Preset(advantage="length_weighted", surrogate=Reinforce(), reduction="token_mean"),
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
