"""One learner rank that writes its reference's log-probs over two steps and a restart, and the metrics of steps that lack something."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from learner.batch.tensors import Batch
from rollout.types import Group, Outcome, Verdict
from tests.toys.rank_base import Rank

WITH_REFERENCE = ['kl.reference="initial"', "kl.coefficient=0.1"]


class ReferenceRank(Rank):
    """A rank with a reference."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what it found."""
        refreshed = [*overrides, *WITH_REFERENCE, "kl.refresh_every=2"]
        learner = self.learner(refreshed)[0]
        said = [self.answers(learner)]
        stats = [self.step(learner)]
        said.append(self.answers(learner))
        stats.append(self.step(learner))
        said.append(self.answers(learner))
        fresh, _ = self.reloaded(learner, name, refreshed)
        said.append(self.answers(fresh))
        lacking = {
            "logprobs": self.step(fresh, [without_logprobs(group) for group in self.groups]),
            "rewards": self.step(fresh, [*self.groups[:2], *(without_rewards(group) for group in self.groups[2:])]),
            "reference": self.lose_the_reference(overrides),
        }
        if self.rank == 0:
            torch.save({"said": said, "stats": stats, "lacking": lacking}, self.folder / f"{name}-{self.world}.pt")

    def lose_the_reference(self, overrides: Sequence[str]) -> dict[str, float]:
        """A step whose KL in the reward is NaN on one rank."""
        learner = self.learner([*overrides, *WITH_REFERENCE, 'kl.place="reward"', 'objective.advantage="centred"'])[0]
        reference = learner.reference
        assert reference is not None

        def broken(batch: Batch) -> Tensor:
            return reference(batch) * (float("nan") if self.rank == 0 else 1.0)

        learner.reference = broken  # type: ignore[assignment]
        broken.refresh_when_due = lambda steps: None  # type: ignore[attr-defined]
        return self.step(learner)


def without_logprobs(group: Group) -> Group:
    """The group as an engine returns it that does not report log-probs."""
    return replace(group, responses=tuple(replace(response, logprobs=None) for response in group.responses))


def without_rewards(group: Group) -> Group:
    """The group after a checker that always fails."""
    return replace(group, verdicts=tuple(Verdict.failed(Outcome.CRASHED, "crash") for _ in group.verdicts))
