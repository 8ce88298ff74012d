"""One learner rank that keeps its router frozen, and balances its experts, over one step each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learner.batch.plan import Row
from learner.batch.tensors import build_batch
from learner.learner import Learner
from learner.model.zero import shards
from rollout.types import GroupSummary
from tests.toys.gradient_worker import ONE_UPDATE, moment
from tests.toys.rank_base import Rank

FROZEN = ['learner.router="frozen"', 'learner.head_dtype="float32"', 'kl.reference="initial"', "kl.refresh_every=1"]
SHIFTING = ['objective.preset="gmpo"', "objective.router_shift=0.98", "learner.lr=1e-3"]
COEFFICIENT = 3.0
BALANCED = ['objective.preset="grpo"', f"learner.aux_loss={COEFFICIENT}", *ONE_UPDATE]


class Still(Learner):
    """A learner that takes a gradient and does not move."""

    def _lr(self) -> float:
        return 0.0


class CareRank(Rank):
    """A rank that watches its routers."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what it found."""
        found = {"frozen": self.keep_frozen(name, overrides), "balanced": self.balance(overrides)}
        if self.rank == 0:
            torch.save(found, self.folder / f"{name}-{self.world}.pt")

    def step(self, learner: Learner) -> dict[str, float]:
        summaries = [GroupSummary.of(group) for group in self.groups]
        return learner.step(summaries, lambda places: {place: self.groups[place] for place in places})

    def keep_frozen(self, name: str, overrides: Sequence[str]) -> dict[str, Any]:
        """A step of two updates, and a restart; the routers' weights are changed by hand before, so that they are not the model's."""
        learner, source = self.learner([*overrides, *FROZEN, *SHIFTING])
        for parameter, shard in shards(learner.zero.module).items():
            if parameter.endswith("gate.weight"):
                shard.mul_(1.25)
        before = dict(source)
        stats = self.step(learner)
        after, proof = dict(source), source.proof
        said = self.answers(learner)
        saved = self.folder / f"{name}-{self.world}-saved"
        saved.mkdir(exist_ok=True)
        torch.distributed.barrier()
        learner.save(saved)
        torch.distributed.barrier()
        fresh, source = self.learner([*overrides, *FROZEN, *SHIFTING])
        fresh.load(saved)
        dict(source)
        return {"before": before, "after": after, "stats": stats, "said": said, "proof": proof, "loaded": source.proof}

    def answers(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """Log-probs of one group under the policy and under the reference that was just renewed; a collective."""
        rows = [
            Row(group=1, member=m, advantage=0.0, weight=1.0, prompt_tokens=3, tokens=3 + len(self.groups[1].responses[m])) for m in (0, 2)
        ]
        batch = build_batch(rows, self.groups, 0)
        assert learner.reference is not None
        with torch.no_grad():
            return learner.zero(batch)[0].clone(), learner.reference(batch).clone()

    def balance(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The gradient of one update with a balancing loss in it, and what was told of the experts."""
        learner = self.learner([*overrides, *BALANCED], kind=Still)[0]
        stats, table = self.step(learner), learner.expert_load()
        assert table is not None
        # Without ZeRO DeepSpeed keeps no such state to be asked for.
        told = learner.zero.module.named_parameters() if learner.config.learner.zero_stage else ()
        gradient = {parameter.replace(".router.", "."): moment(learner, p) for parameter, p in told if ".experts.w" not in parameter}
        return {"stats": stats, "table": table.tolist(), "gradient": gradient}
