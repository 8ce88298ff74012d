"""The program of a rank: `python -m tests.toys.rank_worker RANK WORLD PORT FOLDER RUNS`, each run written to FOLDER by rank 0."""

import json
import os
import sys
from pathlib import Path

import torch

from cluster.actors.process import freeze_gc
from tests.toys.care_worker import CareRank
from tests.toys.expert_worker import ExpertRank, FamilyRank
from tests.toys.gradient_worker import GradientRank
from tests.toys.rank_base import Rank, poison
from tests.toys.reference_worker import ReferenceRank
from tests.toys.replay_worker import ReplayRank
from tests.toys.rescoring_worker import RescoringRank


class LearningRank(Rank):
    """A rank that learns one step."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """One step from the model, with the proofs before it, after it, and of a fresh learner that loaded the saved state."""
        learner, source = self.learner(overrides)
        before = dict(source)
        proofs = {"before": source.proof}
        if "poisoned" in name and self.rank == 0:
            poison(learner)
        stats = self.step(learner)
        weights = dict(source)
        proofs["after"] = source.proof
        fresh, source = self.reloaded(learner, name, overrides)
        dict(source)
        proofs["loaded"] = source.proof
        if self.rank == 0:
            result = {"before": before, "weights": weights, "stats": stats, "proofs": proofs, "updates_done": fresh.updates_done}
            torch.save(result, self.folder / f"{name}-{self.world}.pt")


KINDS: dict[str, type[Rank]] = {
    "learn": LearningRank, "gradient": GradientRank, "reference": ReferenceRank, "experts": ExpertRank, "family": FamilyRank,
    "care": CareRank, "replay": ReplayRank, "rescoring": RescoringRank,
}  # fmt: skip

if __name__ == "__main__":
    me = Rank.join(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    for run, changes in json.loads(sys.argv[5]):
        kind = KINDS[run.split("-")[0]]
        freeze_gc()  # DeepSpeed collects garbage after every block whose experts it spreads
        kind(me.rank, me.world, me.folder, me.device, me.groups).learn(run, changes)
    torch.distributed.barrier()
    # All results are written. A normal exit sometimes aborts because one of gloo's threads is still running.
    sys.stderr.flush()
    os._exit(0)
