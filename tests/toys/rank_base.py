"""One learner rank as a process of its own, for tests that need several."""

import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from configs.loader import load
from learner.batch.fetched import InMemory
from learner.batch.row import Row
from learner.learner import Learner
from learner.process_group import join_ranks
from learner.state.rank_state import RankState
from learner.weights.source import ZeroWeightSource
from rollout.transfer.meeting import free_socket
from rollout.types import Group, GroupSummary
from tests.toys.batches import whole_batch


@dataclass(frozen=True)
class Rank:
    """One rank of a process group in which several runs follow one another."""

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

    def learn(self, name: str, overrides: list[str]) -> None:
        """Do the run of that name; rank 0 writes what the test looks at."""
        raise NotImplementedError

    def learner(self, overrides: list[str], kind: type[Learner] = Learner) -> tuple[Learner, ZeroWeightSource]:
        """A fresh learner and its weights."""
        config = load(self.folder / "config.toml", [*overrides, f"learner.ranks={self.world}"])
        learner = kind(config, rank=self.rank, world=self.world, device=self.device)
        return learner, ZeroWeightSource(learner.zero, torch.float32, prove=True)

    def step(self, learner: Learner, groups: Sequence[Group] | None = None) -> dict[str, float]:
        """One step on the recorded groups, or on others; its metrics."""
        chosen = self.groups if groups is None else groups
        return learner.step([GroupSummary.of(group) for group in chosen], InMemory(chosen))

    def save(self, learner: Learner, name: str) -> Path:
        """Save the learner's state; the folder."""
        folder = self.folder / f"{name}-{self.world}-saved"
        folder.mkdir(exist_ok=True)
        torch.distributed.barrier()
        state = RankState(learner)
        state.snapshot()
        state.write(folder)
        torch.distributed.barrier()
        return folder

    def reloaded(self, learner: Learner, name: str, overrides: list[str]) -> tuple[Learner, ZeroWeightSource]:
        """A fresh learner that has loaded what this one saves."""
        folder = self.save(learner, name)
        fresh, source = self.learner(overrides)
        RankState(fresh).load(folder)
        return fresh, source

    def answers(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """Log-probs of one group under the policy and under the reference; a collective."""
        rows = [
            Row(group=1, member=m, advantage=0.0, weight=1.0, prompt_tokens=3, tokens=3 + len(self.groups[1].responses[m])) for m in (0, 2)
        ]
        batch = whole_batch(rows, self.groups, 0)
        assert learner.reference is not None
        with torch.no_grad():
            return learner.zero(batch)[0].clone(), learner.reference(batch).clone()


def poison(learner: Learner) -> None:
    """Make the gradient of this rank NaN."""
    backward = learner.zero.backward
    learner.zero.backward = lambda loss: backward(loss * float("nan"))  # type: ignore[method-assign]
