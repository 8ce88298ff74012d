"""The three tables of a config that decide the loss: the objective, the correction of the mismatch, the pull to a reference."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, StrictBool, StrictStr

from configs.presets import CLIPPED_RATIO, CORRECTIONS, PRESETS, SETTINGS, Correction, Kl, Preset
from configs.section import Positive, Section, Share, Whole

INITIAL = "initial"  # as kl.reference: the model that training starts from


class ObjectiveConfig(Section):
    """Which loss: a preset of `configs.presets`, and the choices changed on top of it."""

    preset: StrictStr = "grpo"
    advantage: StrictStr | None = None
    ratio: Literal["token", "sequence"] | None = None
    surrogate: StrictStr | None = None
    clip_low: Positive | None = None
    clip_high: Positive | None = None
    cap: Positive | None = Field(
        default=None, description="dual_clip: largest loss of a token in units of |advantage|; minirl: largest weight"
    )
    tau_positive: Positive | None = None
    tau_negative: Positive | None = None
    pull: Share | None = None
    reduction: StrictStr | None = None
    old: Literal["learner", "engine"] | None = Field(
        default=None,
        description='whose log-probs the ratio is taken to; "engine" saves the learner a pass and adds the mismatch to the ratio',
    )
    overlong_filter: StrictBool = Field(
        default=False, description="mask truncated responses in the loss; they stay in the group's baseline"
    )
    router_shift: Positive | None = Field(
        default=None, description="RSPO: shrink the ratio of tokens whose router has moved, down to this factor; left out it is off"
    )

    @property
    def resolved(self) -> Preset:
        """The preset with this section's changes applied."""
        row = PRESETS[self.preset]
        if self.surrogate not in (None, row.surrogate):
            # Only these mean the same by their bounds; any other has to be given its own.
            kept = {"clip_low", "clip_high"} if {self.surrogate, row.surrogate} <= set(CLIPPED_RATIO) else set()
            row = row.replace(**dict.fromkeys(set(SETTINGS) - kept))
        return row.replace(**_changes(self, "preset", "overlong_filter", "router_shift"))


class CorrectionConfig(Section):
    """What is done about K, the ratio between learner and engine: a row of CORRECTIONS, and what is changed on top of it."""

    preset: StrictStr = "none"
    weight: Literal["none", "token", "sequence", "geometric"] | None = None
    cap: Positive | None = None
    keep: Literal["all", "token", "sequence", "geometric"] | None = None
    keep_low: Share | None = None
    keep_high: Positive | None = None
    veto_low: Positive | None = None
    veto_high: Positive | None = None
    opsm: Share | None = None

    @property
    def resolved(self) -> Correction:
        """The row with this section's changes applied."""
        return replace(CORRECTIONS[self.preset], **_changes(self, "preset"))


class KlConfig(Section):
    """The pull towards a reference policy, held by the learner ranks."""

    coefficient: Share = 0.0
    estimator: StrictStr = "ratio_k3"
    place: Literal["loss", "reward"] = "loss"
    reference: StrictStr | None = Field(
        default=None, description='a model folder, or "initial" for model.path; with coefficient 0 the distance is only logged'
    )
    refresh_every: Whole = Field(
        default=0, description="steps after which the reference becomes the policy of that step; 0 leaves it frozen"
    )

    @property
    def resolved(self) -> Kl:
        return Kl(coefficient=float(self.coefficient), estimator=self.estimator, place=self.place)


def _changes(section: Section, *but: str) -> dict[str, Any]:
    return {key: value for key in type(section).model_fields if key not in but and (value := getattr(section, key)) is not None}
