"""One learner rank as a process of its own, for tests that need several."""

import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from configs.loader import load
from learner.learner import Learner
from learner.process_group import join_ranks
from learner.weights.source import ZeroWeightSource
from rollout.transfer import free_socket
from rollout.types import Group


@dataclass(frozen=True)
class Rank:
    """What one rank needs for several runs, one after another, in one process group."""

    rank: int
    world: int
    folder: Path
    device: torch.device
    groups: list[Group]

    @classmethod
    def join(cls, rank: int, world: int, folder: Path) -> "Rank":
        """Meet the other ranks at the port that rank 0 writes to the folder; AssertionError after two minutes without it."""
        torch.set_num_threads(1)
        met = folder / f"port-{world}"
        listener = free_socket("127.0.0.1") if rank == 0 else None
        if listener is not None:
            met.with_suffix(".tmp").write_text(str(listener.getsockname()[1]))
            met.with_suffix(".tmp").rename(met)
        deadline = time.monotonic() + 120
        while not met.exists():
            assert time.monotonic() < deadline, "rank 0 never offered a port"
            time.sleep(0.1)
        device = join_ranks(rank=rank, world=world, host="127.0.0.1", port=int(met.read_text()), deadline_s=300, listener=listener)
        groups: list[Group] = pickle.loads((folder / "groups.pickle").read_bytes())  # written by the test itself
        return cls(rank, world, folder, device, groups)

    def learner(self, overrides: list[str], kind: type[Learner] = Learner) -> tuple[Learner, ZeroWeightSource]:
        """A fresh learner and its weights."""
        config = load(self.folder / "config.toml", [*overrides, f"learner.ranks={self.world}"])
        learner = kind(config, rank=self.rank, world=self.world, device=self.device)
        return learner, ZeroWeightSource(learner.zero, torch.float32, prove=True)
