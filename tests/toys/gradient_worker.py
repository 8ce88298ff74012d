"""One learner rank that writes the gradient of one update under several objectives, as it reaches DeepSpeed's optimizer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from deepspeed.utils import safe_get_full_optimizer_state
from torch import Tensor

from learner.batch.row import MicroBatch
from learner.learner import Learner
from learner.measurement import Part
from learner.statistics import StepStatistics
from rollout.types import Group
from tests.toys.gradient import ENTROPY, OBJECTIVES, credit_of, elsewhere, groups_of, labels_of, nearness
from tests.toys.rank_base import Rank

# With a beta of 0 Adam's first moment is the gradient, and a learning rate of 0 does not change the weights.
ONE_UPDATE = [
    "learner.updates_per_step=1",
    "learner.betas=[0.0, 0.999]",
    "learner.max_grad_norm=1e9",
    'kl.reference="initial"',
]


class Displaced(Learner):
    """A learner whose policy differs from the old one in every update."""

    def _measure(self, rows: MicroBatch, groups: Mapping[int, Group], first: bool) -> Part:
        part = super()._measure(rows, groups, first=False)
        with torch.no_grad():
            batch, old, reference = elsewhere(part.batch, self.zero(part.batch)[0], nearness(self.objective))
        return replace(part, batch=batch, old_logprobs=old, reference_logprobs=reference)

    def _update(self, parts: Sequence[Part], statistics: StepStatistics, first: bool) -> float:
        return super()._update(parts, statistics, first=False)

    def _lr(self) -> float:
        return 0.0


class GradientRank(Rank):
    """A rank that takes one update's gradient under each objective in turn."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what it found."""
        learner = self.learner([*overrides, *ONE_UPDATE, "entropy.coefficient=0.1"], kind=Displaced)[0]
        gradients, stats = {}, {}
        for label in labels_of(name, self.world):
            learner.objective, learner.entropy.level = OBJECTIVES[label], ENTROPY.get(label, 0.0)
            credited = learner.config.objective.model_copy(update={"credit": credit_of(label)})
            learner.config = learner.config.model_copy(update={"objective": credited})
            stats[label] = self.step(learner, groups_of(label, self.groups))
            gradients[label] = [moment(learner, p) for p in learner.zero.module.parameters()]
        if self.rank == 0:
            torch.save({"gradients": gradients, "stats": stats}, self.folder / f"{name}-{self.world}.pt")


def moment(learner: Learner, parameter: torch.nn.Parameter) -> Tensor:
    """Adam's first moment of a whole parameter; a collective."""
    whole = safe_get_full_optimizer_state(parameter, "exp_avg")
    assert whole is not None, f"{learner.config.learner.zero_stage}"
    return whole.detach().cpu().clone()
