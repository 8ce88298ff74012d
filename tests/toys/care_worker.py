"""One learner rank that learns a step with frozen routers, and one with a balancing loss."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from learner.learner import Learner
from learner.model.zero import shards
from rollout.types import Verdict
from tests.toys.gradient_worker import ONE_UPDATE, moment
from tests.toys.rank_base import Rank

FROZEN = ['learner.router="frozen"', 'learner.head_dtype="float32"', 'kl.reference="initial"', "kl.refresh_every=1"]
SHIFTING = ['objective.preset="gmpo"', "objective.router_shift=0.98", "learner.lr=1e-3"]
COEFFICIENT = 3.0
BALANCED = ['objective.preset="grpo"', f"learner.aux_loss={COEFFICIENT}", *ONE_UPDATE]


class Still(Learner):
    """A learner that computes gradients and does not move."""

    def _lr(self) -> float:
        return 0.0


class CareRank(Rank):
    """A rank with frozen or balanced routers."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what it found."""
        found = {"frozen": self.keep_frozen(name, overrides), "balanced": self.balance(overrides)}
        if self.rank == 0:
            torch.save(found, self.folder / f"{name}-{self.world}.pt")

    def keep_frozen(self, name: str, overrides: Sequence[str]) -> dict[str, Any]:
        """A step of two updates, and a restart. The routers' weights are changed before it, so that they differ from the model's."""
        learner, source = self.learner([*overrides, *FROZEN, *SHIFTING])
        for parameter, shard in shards(learner.zero.module).items():
            if parameter.endswith("gate.weight"):
                shard.mul_(1.25)
        before = dict(source)
        stats = self.step(learner)
        after, proof = dict(source), source.proof
        said = self.answers(learner)
        _, source = self.reloaded(learner, name, [*overrides, *FROZEN, *SHIFTING])
        dict(source)
        return {"before": before, "after": after, "stats": stats, "said": said, "proof": proof, "loaded": source.proof}

    def balance(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The gradient of one update with a balancing loss, and the load of its experts."""
        learner = self.learner([*overrides, *BALANCED], kind=Still)[0]
        stats, table = self.step(learner), learner.expert_load()
        assert table is not None
        # Without ZeRO DeepSpeed has no such state.
        parameters = learner.zero.module.named_parameters() if learner.config.learner.zero_stage else ()
        gradient = {parameter.replace(".router.", "."): moment(learner, p) for parameter, p in parameters if ".experts.w" not in parameter}
        alike = self.step(learner, [replace(g, verdicts=tuple(Verdict(reward=1.0) for _ in g.verdicts)) for g in self.groups])
        return {"stats": stats, "table": table.tolist(), "gradient": gradient, "alike": alike}
