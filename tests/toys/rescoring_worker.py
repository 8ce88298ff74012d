"""One learner rank that learns with and without rescoring, and scores one group under past weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from learner.learner import Learner
from rollout.types import Group, Response
from tests.toys.batches import whole_batch
from tests.toys.rank_base import Rank
from tests.toys.rescoring import rows_of

RESCORED = ["mismatch.share=1.0", "rollout.capture_routing=true"]
STEPS, BEHIND = 3, 2


class RescoringRank(Rank):
    """A rank that rescores its responses."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Write what it found."""
        overrides = [*overrides, f"run.max_staleness={BEHIND}", 'objective.preset="grpo"', 'correction.preset="tis"']
        learner, source = self.learner([*overrides, *RESCORED])
        counted = Counted(learner)
        answers, stats = [], []
        for version in range(STEPS):
            answers.append(self.answer(learner))
            stats.append(self.learn_version(learner, version))
        answers.append(self.answer(learner))
        again = {}
        for version in learner.rescoring.history.stored if learner.rescoring.history is not None else ():
            with learner.rescoring.history.swapped_in(version):
                again[version] = self.answer(learner)
        present = self.answer(learner)
        dict(source)
        passes: list[Any] = [None] * self.world
        dist.all_gather_object(passes, (counted.passes, counted.idle))
        plain, plain_source = self.learner(overrides)
        for version in range(STEPS):
            self.learn_version(plain, version)
        dict(plain_source)
        if self.rank == 0:
            found = {"answers": answers, "again": again, "present": present, "stats": stats, "passes": passes}
            torch.save(found | {"proofs": (source.proof, plain_source.proof)}, self.folder / f"{name}-{self.world}.pt")

    def learn_version(self, learner: Learner, version: int) -> dict[str, float]:
        """Learn groups that the present version and earlier ones sampled."""
        groups = [sampled_by(max(0, version - place), group) for place, group in enumerate(self.groups)]
        return self.step(learner, groups)

    def answer(self, learner: Learner) -> Tensor:
        """Log-probs of one group; a collective."""
        rows = [row._replace(group=1) for row in rows_of(self.groups[1:2])]
        with torch.no_grad():
            log_probs: Tensor = learner.zero(whole_batch(rows, self.groups, 0))[0].clone()
        return log_probs


class Counted:
    """Counts the passes of a learner's rescoring in each step, and those in which the rank had nothing to score."""

    def __init__(self, learner: Learner) -> None:
        self.passes: list[int] = []
        self.idle = 0
        measure, zero = learner.rescoring.measure, learner.zero

        class Counting:
            module, drop_gathered = zero.module, staticmethod(zero.drop_gathered)

            def __call__(counting, *args: Any) -> Any:
                self.passes[-1] += 1
                self.idle += not bool(args[0].mask.any())
                return zero(*args)

        def counted(*args: Any) -> dict[str, float]:
            self.passes.append(0)
            return measure(*args)

        learner.rescoring.zero = Counting()  # type: ignore[assignment]
        learner.rescoring.measure = counted  # type: ignore[method-assign]


def sampled_by(version: int, group: Group) -> Group:
    """The group as an engine with that version returns it, with random experts."""
    rng = np.random.default_rng(group.group_id)

    def routed(response: Response) -> Response:
        shape = (len(group.prompt.token_ids) + len(response) - 1, 2)
        experts = rng.permuted(np.broadcast_to(np.arange(4, dtype=np.uint8), (*shape, 4)), axis=-1)[..., :2]
        return replace(response, routed_experts=experts, oldest_version=version, newest_version=version)

    return replace(group, responses=tuple(map(routed, group.responses)))
