"""Every key of a config file, by section. The rules between keys are in `configs.rules`.

A key's description is one line for a table: its first sentence says what the key is, and is also shown in errors. `configs.document`
writes the tables of docs/config.md from them.
"""

from pathlib import Path

from pydantic import Field

from configs.home import expanded
from configs.presets import Objective
from configs.section import Section
from configs.sections.data import DataConfig
from configs.sections.learner import LearnerConfig
from configs.sections.mismatch import MismatchConfig
from configs.sections.model import ModelConfig
from configs.sections.objective import CorrectionConfig, EntropyConfig, KlConfig, ObjectiveConfig
from configs.sections.placement import PlacementConfig
from configs.sections.reward import CodeConfig, HttpConfig, JudgeConfig, RewardConfig
from configs.sections.rollout import RolloutConfig
from configs.sections.run import RunConfig
from configs.sections.tools import ToolsConfig
from configs.sections.trackers import TrackersConfig


class Keys(Section):
    """Every key of a run, by section, and values that follow from them; the rules between keys are in `configs.rules`."""

    run: RunConfig = Field(default_factory=RunConfig)
    model: ModelConfig
    data: DataConfig
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    code: CodeConfig = Field(default_factory=CodeConfig)
    judge: JudgeConfig = Field(default_factory=JudgeConfig)
    http: HttpConfig = Field(default_factory=HttpConfig)
    tools: ToolsConfig = Field(default_factory=ToolsConfig)
    learner: LearnerConfig = Field(default_factory=LearnerConfig)
    placement: PlacementConfig = Field(default_factory=PlacementConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    correction: CorrectionConfig = Field(default_factory=CorrectionConfig)
    kl: KlConfig = Field(default_factory=KlConfig)
    entropy: EntropyConfig = Field(default_factory=EntropyConfig)
    mismatch: MismatchConfig = Field(default_factory=MismatchConfig)
    trackers: TrackersConfig = Field(default_factory=TrackersConfig)

    @property
    def whole_objective(self) -> Objective:
        """The loss that `[objective]`, `[correction]` and `[kl]` define together."""
        return Objective(preset=self.objective.resolved, correction=self.correction.resolved, kl=self.kl.resolved)

    @property
    def dynamic_sampling(self) -> bool:
        asked = self.rollout.dynamic_sampling
        return self.objective.resolved.dynamic_sampling if asked is None else asked

    @property
    def ahead(self) -> int:
        """Steps that generation runs ahead of learning."""
        return self.run.max_staleness if self.rollout.ahead is None else self.rollout.ahead

    @property
    def groups_in_flight(self) -> int:
        """Groups that are submitted and not yet learned and published, at most."""
        return (self.ahead + 1) * self.rollout.groups_per_step

    @property
    def engine_dtype(self) -> str:
        return self.model.dtype if self.rollout.dtype == "model" else self.rollout.dtype

    @property
    def context_tokens(self) -> int:
        return self.data.max_prompt_tokens + self.rollout.max_response_tokens

    @property
    def run_dir(self) -> Path:
        return expanded(self.run.dir).absolute()

    @property
    def followed_by(self) -> list[str]:
        """The trackers that have a process of their own; `run.tensorboard` is the older way to ask for one."""
        asked = [name for name in self.trackers.use if name != "prometheus"]
        return [*asked, "tensorboard"] if self.run.tensorboard and "tensorboard" not in asked else asked

    @property
    def template_copy(self) -> Path:
        """The run's own copy of `data.template_file`."""
        return self.run_dir / "template.jinja"
