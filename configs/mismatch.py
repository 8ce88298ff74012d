"""How the gap between engine and learner is watched: what is measured of it, and when it is an alarm."""

from typing import Literal

from pydantic import Field

from configs.section import Count, Positive, Section, Share


class MismatchConfig(Section):
    """The gap between the log-probs of engine and learner, split into routing, staleness and numerics, and its alarm."""

    share: Share = Field(default=0.0, description="share of a step's responses that is scored again to split the gap by its causes")
    alarm: Positive | None = Field(default=None, description="KL (k3) between engine and learner a token above which a step is too far off")
    patience: Count = Field(default=3, description="steps in a row above the alarm before it is raised")
    on_alarm: Literal["warn", "stop"] = "warn"
