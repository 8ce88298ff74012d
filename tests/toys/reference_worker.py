"""One learner rank that writes what its reference says over two steps and a restart, and what becomes of steps with something missing."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from learner.batch.plan import Row
from learner.batch.tensors import Batch, build_batch
from learner.learner import Learner
from rollout.types import Group, GroupSummary, Outcome, Verdict
from tests.toys.rank_base import Rank

WITH_REFERENCE = ['kl.reference="initial"', "kl.coefficient=0.1"]


class ReferenceRank(Rank):
    """A rank that watches its reference."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what it found."""
        learner = self.learner([*overrides, *WITH_REFERENCE, "kl.refresh_every=2"])[0]
        said = [self.answers(learner)]
        stats = [self.step(learner, self.groups)]
        said.append(self.answers(learner))
        stats.append(self.step(learner, self.groups))
        said.append(self.answers(learner))
        saved = self.folder / f"{name}-{self.world}-saved"
        saved.mkdir(exist_ok=True)
        torch.distributed.barrier()
        learner.save(saved)
        torch.distributed.barrier()
        fresh = self.learner([*overrides, *WITH_REFERENCE, "kl.refresh_every=2"])[0]
        fresh.load(saved)
        said.append(self.answers(fresh))
        lacking = {
            "logprobs": self.step(fresh, [without_logprobs(group) for group in self.groups]),
            "rewards": self.step(fresh, [*self.groups[:2], *(without_rewards(group) for group in self.groups[2:])]),
            "reference": self.lose_the_reference(overrides),
        }
        if self.rank == 0:
            torch.save({"said": said, "stats": stats, "lacking": lacking}, self.folder / f"{name}-{self.world}.pt")

    def step(self, learner: Learner, groups: list[Group]) -> dict[str, float]:
        return learner.step([GroupSummary.of(group) for group in groups], lambda places: {place: groups[place] for place in places})

    def answers(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """Log-probs of one group under the policy and under the reference; a collective."""
        rows = [
            Row(group=1, member=m, advantage=0.0, weight=1.0, prompt_tokens=3, tokens=3 + len(self.groups[1].responses[m])) for m in (0, 2)
        ]
        batch = build_batch(rows, self.groups, 0)
        assert learner.reference is not None
        with torch.no_grad():
            return learner.zero(batch)[0].clone(), learner.reference(batch).clone()

    def lose_the_reference(self, overrides: Sequence[str]) -> dict[str, float]:
        """A step whose KL in the reward is NaN on one rank."""
        learner = self.learner([*overrides, *WITH_REFERENCE, 'kl.place="reward"', 'objective.advantage="centred"'])[0]
        reference = learner.reference
        assert reference is not None

        def broken(batch: Batch) -> Tensor:
            return reference(batch) * (float("nan") if self.rank == 0 else 1.0)

        learner.reference = learner.measured.reference = broken  # type: ignore[assignment]
        broken.refresh_when_due = lambda steps: None  # type: ignore[attr-defined]
        return self.step(learner, self.groups)


def without_logprobs(group: Group) -> Group:
    """As an engine returns it that was told not to tell them."""
    return replace(group, responses=tuple(replace(response, logprobs=None) for response in group.responses))


def without_rewards(group: Group) -> Group:
    """As a checker that always fails leaves it."""
    return replace(group, verdicts=tuple(Verdict.failed(Outcome.CRASHED, "crash") for _ in group.verdicts))
