"""The program of a rank: `python -m tests.toys.rank_worker RANK WORLD PORT FOLDER RUNS`, each run written to FOLDER by rank 0."""

import json
import os
import sys
from pathlib import Path

import torch

from cluster.actors.process import freeze_gc
from rollout.types import GroupSummary
from tests.toys.care_worker import CareRank
from tests.toys.expert_worker import ExpertRank, FamilyRank
from tests.toys.gradient_worker import GradientRank
from tests.toys.rank_base import Rank
from tests.toys.reference_worker import ReferenceRank
from tests.toys.replay_worker import ReplayRank
from tests.toys.split_worker import SplitRank


class LearningRank(Rank):
    """A rank that learns one step."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """One step from the model, with the proofs before, after, and after a save and a load into a fresh learner."""
        learner, source = self.learner(overrides)
        before = dict(source)
        proofs = {"before": source.proof}
        if "poisoned" in name and self.rank == 0:
            backward = learner.zero.backward
            learner.zero.backward = lambda loss: backward(loss * float("nan"))  # type: ignore[method-assign]
        summaries = [GroupSummary.of(group) for group in self.groups]
        stats = learner.step(summaries, lambda places: {place: self.groups[place] for place in places})
        weights = dict(source)
        proofs["after"] = source.proof
        saved = self.folder / f"{name}-{self.world}-saved"
        saved.mkdir(exist_ok=True)
        torch.distributed.barrier()
        learner.save(saved)
        torch.distributed.barrier()
        fresh, source = self.learner(overrides)
        fresh.load(saved)
        dict(source)
        proofs["loaded"] = source.proof
        if self.rank == 0:
            result = {"before": before, "weights": weights, "stats": stats, "proofs": proofs, "updates_done": fresh.updates_done}
            torch.save(result, self.folder / f"{name}-{self.world}.pt")


KINDS: dict[str, type[Rank]] = {
    "learn": LearningRank, "gradient": GradientRank, "reference": ReferenceRank, "experts": ExpertRank, "family": FamilyRank,
    "care": CareRank, "replay": ReplayRank, "split": SplitRank,
}  # fmt: skip

if __name__ == "__main__":
    me = Rank.join(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    for run, changes in json.loads(sys.argv[5]):
        kind = KINDS[run.split("-")[0]]
        freeze_gc()  # DeepSpeed collects garbage after every block whose experts it spreads
        kind(me.rank, me.world, me.folder, me.device, me.groups).learn(run, changes)
    torch.distributed.barrier()
    # All is written. The interpreter's own end now and then finds one of gloo's threads still running, and aborts.
    sys.stderr.flush()
    os._exit(0)
