"""One learner rank as a process of its own, for tests that need several: learns recorded groups and writes what came of it."""

import json
import pickle
import sys
from pathlib import Path

import torch

from configs.loader import load
from learner.learner import Learner
from learner.process_group import join_ranks
from learner.weight_source import ZeroWeightSource
from rollout.transfer import free_socket
from rollout.types import Group, GroupSummary


class Rank:
    """What one rank needs for several runs, one after another, in one process group."""

    def __init__(self, rank: int, world: int, port: int, folder: Path) -> None:
        torch.set_num_threads(1)
        self.rank, self.world, self.folder = rank, world, folder
        listener = free_socket("127.0.0.1") if rank == 0 else None
        if listener is not None:
            port = listener.getsockname()[1]
            (folder / f"port-{world}.tmp").write_text(str(port))
            (folder / f"port-{world}.tmp").rename(folder / f"port-{world}")
        self.device = join_ranks(rank=rank, world=world, host="127.0.0.1", port=port, deadline_s=60, listener=listener)
        self.groups: list[Group] = pickle.loads((folder / "groups.pickle").read_bytes())  # written by the test itself

    def learner(self, overrides: list[str], kind: type[Learner] = Learner) -> tuple[Learner, ZeroWeightSource]:
        config = load(self.folder / "config.toml", [*overrides, f"learner.ranks={self.world}"])
        learner = kind(config, rank=self.rank, world=self.world, device=self.device)
        return learner, ZeroWeightSource(learner.zero, torch.float32, prove=True)

    def learn(self, name: str, overrides: list[str]) -> None:
        """One step from the model, with the proofs before, after, and after a save and a load into a fresh learner."""
        learner, source = self.learner(overrides)
        before = dict(source)
        proofs = {"before": source.proof}
        if name.startswith("poisoned") and self.rank == 0:
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


def work(kind: type[Rank], words: list[str]) -> None:
    """Do every run that the command line names."""
    this = kind(int(words[1]), int(words[2]), int(words[3]), Path(words[4]))
    for name, overrides in json.loads(words[5]):
        this.learn(name, overrides)


if __name__ == "__main__":
    work(Rank, sys.argv)
