"""The program of all ranks: `python -m tests.toys.rank_worker FOLDER` does the runs of RUNS; rank 0 writes each to FOLDER."""

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401 - else DeepSpeed imports it, with torch's compiler, in every rank
import torch

from cluster.actors.process import freeze_gc
from learner.learner import Learner
from learner.model.masters import Moments, parts
from learner.model.spikes import LEAST
from learner.weights.source import ZeroWeightSource
from rollout.types import Group, Verdict
from tests.toys.care_worker import CareRank
from tests.toys.expert_worker import ExpertRank, FamilyRank
from tests.toys.gradient_worker import GradientRank
from tests.toys.loading_worker import LoadingRank
from tests.toys.memory_worker import MemoryRank
from tests.toys.parking_worker import ParkingRank
from tests.toys.rank_base import Rank, poison
from tests.toys.ranks import RUNS
from tests.toys.reference_worker import ReferenceRank
from tests.toys.replay_worker import ReplayRank
from tests.toys.rescoring_worker import RescoringRank
from tests.toys.state_worker import StateRank

CHANGED = ["learner.lr=3e-3", "learner.betas=[0.5, 0.6]", "learner.weight_decay=0.25", "learner.max_grad_norm=0.125"]


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
        fresh, restored = self.reloaded(learner, name, [*overrides, *CHANGED])
        loaded = dict(restored)
        proofs["loaded"] = restored.proof
        counted = fresh.updates_done
        # AdamW has momentum by now, unless the rank is poisoned.
        alike = [with_equal_rewards(group) for group in self.groups]
        still = self.step(learner, alike)
        dict(source)
        proofs["alike"] = source.proof
        rate = learner.updates_done
        half = self.step(learner, [*alike[:2], *self.groups[2:]])
        dict(source)
        proofs["half"] = source.proof
        spiking = self.spike(learner, source) if "poisoned" in name else {}
        changed = self.continue_changed(fresh)
        changed |= {"moved": max(float((dict(restored)[key] - old).abs().max()) for key, old in loaded.items())}
        if self.rank == 0:
            result = {"before": before, "weights": weights, "stats": stats, "proofs": proofs, "updates_done": counted, "changed": changed}
            result |= {"alike": still, "half": half, "done": (rate, learner.updates_done), "spiking": spiking}
            torch.save(result, self.folder / f"{name}-{self.world}.pt")

    def spike(self, learner: Learner, source: ZeroWeightSource) -> dict[str, Any]:
        """A step whose updates are far above those before, and one whose updates are usual; the proofs and what AdamW counts after each."""
        learner.zero.__dict__.pop("backward", None)  # no poison any more
        found: dict[str, Any] = {}
        for kind, norms in (("spikes", [1e-9] * LEAST), ("usual", [1e9] * LEAST)):
            learner.spikes.restore(norms)
            stats = self.step(learner)
            dict(source)
            adam = Moments(learner.zero)
            found[kind] = (stats, source.proof, [adam.steps(part) for part in parts(learner.zero) if part.owner is not None][:1])
        return found

    def continue_changed(self, learner: Learner) -> dict[str, Any]:
        """One step of a loaded learner whose settings were changed; what AdamW used, and its moments before and after it forgot them."""
        optimizer = learner.zero.engine.optimizer
        base = getattr(optimizer, "optimizer", optimizer)
        kept = [float(state["exp_avg"].abs().sum()) for state in base.state.values()]
        lr = self.step(learner)["lr"]
        used = [{key: group[key] for key in ("lr", "betas", "weight_decay")} for group in optimizer.param_groups]
        Moments(learner.zero).forget()
        left = [float(torch.as_tensor(value).abs().sum()) for state in base.state.values() for value in state.values()]
        return {"lr": lr, "used": used, "clip": getattr(optimizer, "clip_grad", None), "kept": sum(kept), "left": sum(left)}


def with_equal_rewards(group: Group) -> Group:
    """The group with a reward of 1 for every response."""
    return replace(group, verdicts=tuple(Verdict(reward=1.0) for _ in group.verdicts))


KINDS: dict[str, type[Rank]] = {
    "learn": LearningRank, "gradient": GradientRank, "reference": ReferenceRank, "experts": ExpertRank, "family": FamilyRank,
    "care": CareRank, "replay": ReplayRank, "rescoring": RescoringRank, "memory": MemoryRank,
    "loading": LoadingRank, "parking": ParkingRank, "state": StateRank,
}  # fmt: skip


def work(rank: int, world: int, folder: Path) -> None:
    """Do every run of `world` ranks, as rank `rank` of them."""
    me = Rank.join(rank, world, folder)
    for run, changes in RUNS[world]:
        kind = KINDS[run.split("-")[0]]
        freeze_gc()  # DeepSpeed collects garbage after every block whose experts it spreads
        kind(me.rank, me.world, me.folder, me.device, me.groups).learn(run, changes)
    torch.distributed.barrier()


def fork(rank: int, world: int, folder: Path) -> int:
    """Start a process that does the rank's work; its pid."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        work(rank, world, folder)
        status = 0
    except BaseException:
        print(f"rank {rank} of {world}:\n{traceback.format_exc()}", file=sys.stderr)
    finally:
        # All is written. The interpreter's own end now and then finds one of gloo's threads still running, and aborts.
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    # Importing DeepSpeed and transformers takes seconds: one process does it, and every rank is a fork of it.
    ranks = [fork(rank, world, Path(sys.argv[1])) for world in RUNS for rank in range(world)]
    while ranks:
        pid, status = os.wait()
        if status:
            sys.exit(f"rank process {pid} ended with status {status}")
        ranks.remove(pid)
