"""The three tables of a config that decide the loss: the objective, the correction of the mismatch, the pull to a reference."""

from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import Field, StrictBool, StrictStr

from configs.presets import CORRECTIONS, PRESETS, Correction, Estimator, Kl, Place, Preset, Statistic
from configs.section import NonNegative, Positive, PositiveShare, Section, Whole
from configs.surrogates import SETTINGS, SURROGATES, ClippedRatio, Surrogate, settings_of
from configs.toml_writer import quoted

INITIAL = "initial"  # as kl.reference: the model that training starts from
NO_KL = Kl()
CLIP_BOUNDS = ("clip_low", "clip_high")
Credit = Literal["whole", "turn"]


class ObjectiveConfig(Section):
    """Which loss: a preset of `configs.presets`, and the choices that replace its own."""

    preset: StrictStr = Field(default="grpo", description=f"a published algorithm. One of {quoted(PRESETS)}")
    advantage: StrictStr | None = Field(
        default=None, description="how the rewards of a group become advantages. Left out, the preset decides, as for all keys below"
    )
    ratio: Literal["token", "sequence"] | None = Field(
        default=None, description="which ratio of policy to old policy: each token's own, or the geometric mean over its response"
    )
    surrogate: StrictStr | None = Field(
        default=None,
        description="how ratio and advantage become a token's loss. Each surrogate reads its own settings among the keys below",
    )
    clip_low: Positive | None = Field(
        default=None,
        description="bound of the ratio below 1. `gmpo`: of its logarithm below 0; `dppo_tv`: of the fall of a token's probability; "
        "`dppo_kl`: of the KL of a token whose probability falls",
    )
    clip_high: Positive | None = Field(
        default=None,
        description="bound of the ratio above 1. `gmpo`: of its logarithm above 0; `dppo_tv`: of the rise of a token's probability; "
        "`dppo_kl`: of the KL of a token whose probability rises",
    )
    cap: Positive | None = Field(
        default=None, examples=[3.0], description="`dual_clip`: largest loss of a token in units of |advantage|; `minirl`: largest weight"
    )
    tau_positive: Positive | None = Field(
        default=None, examples=[1.0], description="`sapo`: steepness of the gate where the advantage is positive"
    )
    tau_negative: Positive | None = Field(
        default=None, examples=[1.05], description="`sapo`: steepness of the gate where the advantage is negative"
    )
    pull: NonNegative | None = Field(default=None, examples=[1e-3], description="`dppo_tv`: weight of the squared log-ratio")
    reduction: StrictStr | None = Field(default=None, description="how token losses become the loss of an update")
    old: Literal["learner", "engine"] | None = Field(
        default=None,
        description="whose log-probs are the denominator of the ratio. "
        '"engine" saves the learner a forward pass, and the ratio then includes the mismatch',
    )
    overlong_filter: StrictBool = Field(
        default=False, description="leave truncated responses out of the loss. Their rewards still count in the group's baseline"
    )
    credit: Credit = Field(
        default="whole",
        description="what of an episode has one advantage: the whole, or each turn by what was earned from it on. "
        '"turn" needs `advantage = "leave_one_out"`',
    )
    router_shift: PositiveShare | None = Field(
        default=None,
        examples=[0.8],
        description="RSPO: smallest factor on the ratio of a token whose router has moved. Left out, ratios are not shrunk",
    )

    @property
    def surrogate_type(self) -> type[Surrogate]:
        """The surrogate chosen here, or else the preset's."""
        return type(PRESETS[self.preset].surrogate) if self.surrogate is None else SURROGATES[self.surrogate]

    @property
    def given_settings(self) -> dict[str, float]:
        """The settings of a surrogate that this section gives itself."""
        return {key: value for key in SETTINGS if (value := getattr(self, key)) is not None}

    @property
    def settings(self) -> dict[str, float]:
        """The given settings and, where they mean the same for the chosen surrogate, the preset's."""
        chosen, inherited = self.surrogate_type, PRESETS[self.preset].surrogate
        values = asdict(inherited)
        if chosen is not type(inherited):
            same = CLIP_BOUNDS if issubclass(chosen, ClippedRatio) and isinstance(inherited, ClippedRatio) else ()
            values = {key: values[key] for key in same}
        return values | self.given_settings

    @property
    def missing_settings(self) -> list[str]:
        """Settings that the chosen surrogate reads and has from nowhere; the rules refuse such a config."""
        return [key for key in settings_of(self.surrogate_type) if key not in self.settings]

    @property
    def resolved(self) -> Preset:
        """The preset with this section's changes applied, for a surrogate that misses no setting."""
        settings = self.settings
        surrogate = self.surrogate_type(**{key: settings[key] for key in settings_of(self.surrogate_type)})
        changes = _changes(self, "preset", "surrogate", "overlong_filter", "credit", "router_shift", *SETTINGS)
        return PRESETS[self.preset].replace(surrogate=surrogate, **changes)


class CorrectionConfig(Section):
    """How the mismatch K, the ratio of learner to engine, is corrected: a preset, and the choices that replace its own."""

    preset: StrictStr = Field(default="none", description=f"a published correction. One of {quoted(CORRECTIONS)}")
    weight: Literal["none", Statistic] | None = Field(
        default=None, description="which K becomes the factor of a token's loss. Left out, the preset decides, as for all keys below"
    )
    cap: Positive | None = Field(default=None, examples=[2.0], description="largest factor")
    keep: Literal["all", Statistic] | None = Field(
        default=None, description="which K must lie between `keep_low` and `keep_high`. The loss of all other tokens becomes 0"
    )
    keep_low: NonNegative | None = Field(default=None, examples=[0.5], description="lower bound of the K that `keep` names, below 1")
    keep_high: Positive | None = Field(default=None, examples=[2.0], description="upper bound of the K that `keep` names, above 1")
    veto_low: Positive | None = Field(
        default=None, examples=[1e-4], description="drop a whole response if K of any of its tokens is lower than this"
    )
    veto_high: Positive | None = Field(
        default=None, examples=[100.0], description="drop a whole response if K of any of its tokens is higher than this"
    )
    opsm: NonNegative | None = Field(
        default=None,
        examples=[0.5],
        description="drop a response with a negative advantage if its log-probs fell by more than this on average",
    )

    @property
    def resolved(self) -> Correction:
        """The preset with this section's changes applied."""
        return replace(CORRECTIONS[self.preset], **_changes(self, "preset"))


class KlConfig(Section):
    """The pull towards a reference policy, whose weights the learner ranks hold."""

    coefficient: NonNegative = Field(
        default=NO_KL.coefficient,
        description="weight of the KL to the reference. With 0 and a reference, the KL is measured and has no other effect",
    )
    estimator: Estimator = Field(default=NO_KL.estimator, description="how the KL is estimated from the sampled tokens")
    place: Place = Field(default=NO_KL.place, description="add the KL to the loss, or subtract it from the reward")
    reference: StrictStr | None = Field(
        default=None,
        description='a model folder or hub id, or "initial" for `model.path`. '
        "It must have the policy's vocabulary; the learner ranks keep it in memory",
    )
    refresh_every: Whole = Field(
        default=0, description="steps after which the policy of that step becomes the reference; 0 never replaces it"
    )

    @property
    def resolved(self) -> Kl:
        return Kl(coefficient=float(self.coefficient), estimator=self.estimator, place=self.place)


class EntropyConfig(Section):
    """The entropy bonus: the mean entropy of the policy's distributions, subtracted from the loss."""

    coefficient: NonNegative = Field(
        default=0.0,
        examples=[1e-3],
        description="weight of the entropy of the policy's distribution at every learned token. With `target` it is the first value",
    )
    target: Positive | None = Field(
        default=None,
        examples=[0.2],
        description="entropy in nats below which the coefficient rises after a step and above which it falls. "
        "The bonus acts only in steps after an entropy of at most this. Left out, the coefficient is fixed",
    )
    change: Positive = Field(default=0.005, description="change of the coefficient after each step. Skywork-OR1 uses 0.005")
    largest: Positive = Field(default=1.0, description="largest coefficient that `target` may reach")

    @property
    def in_use(self) -> bool:
        """Whether a gradient of the entropy can be asked for."""
        return self.coefficient > 0 or self.target is not None


def _changes(section: Section, *but: str) -> dict[str, Any]:
    return {key: value for key in type(section).model_fields if key not in but and (value := getattr(section, key)) is not None}
