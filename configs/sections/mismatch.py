"""How the mismatch between engine and learner is watched: how much of it is measured, and when it raises an alarm."""

from typing import Literal

from pydantic import Field

from configs.section import Count, Positive, Section, Share

PARTS = ("numerics", "routing", "engine", "staleness")  # of the mismatch, as `split/*` measures them


class MismatchConfig(Section):
    """How the mismatch of engine and learner log-probs is split into routing, staleness and numerics, and its alarm."""

    share: Share = Field(
        default=0.0, examples=[0.1], description="share of a step's responses that is scored again to split the mismatch by its causes"
    )
    alarm: Positive | None = Field(
        default=None,
        examples=[0.01],
        description="a step counts as too far off if its `mismatch/kl`, the KL (k3) per token from engine to learner, is above this",
    )
    patience: Count = Field(default=3, description="steps in a row above the alarm before it is raised")
    on_alarm: Literal["warn", "stop"] = Field(default="warn", description="whether an alarm only warns or stops the run")
