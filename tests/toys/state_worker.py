"""One learner rank that saves a state, or loads one that ranks of another number, ZeRO stage or spread of experts saved."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.utils import safe_get_full_optimizer_state
from torch import Tensor

from configs.schema import Config
from learner.learner import Learner
from learner.model import zero
from learner.state.files import Files
from learner.state.layout import read_counters, state_file
from learner.state.rank_state import RankState
from learner.weights.source import ZeroWeightSource
from tests.toys.delta_worker import followed
from tests.toys.rank_base import Rank

RENEWED = ['kl.reference="initial"', "kl.coefficient=0.1", "kl.refresh_every=1"]
PATIENCE_S = 240.0


class StateRank(Rank):
    """A rank whose state others load."""

    def learn(self, name: str, overrides: list[str]) -> None:
        """Save the state after a step, or load it; write what there is then, and what the next step makes of it."""
        source_name, _, what = name.removeprefix("state-").partition(".")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zero, "zero_config", with_torchs_adam)
            learner, source = self.learner([*overrides, *RENEWED, *self.model_of(source_name)])
        saved = self.folder / f"state-{source_name}"
        found: dict[str, Any] = {}
        if what == "saved":
            before = RankState(learner)
            before.prepare()
            self.step(learner)
            found["taken"] = self.taken(before)
            self.save_into(learner, saved)
            found["moments"] = self.moments(learner, source)
        else:
            wait_for(saved / "done")
            RankState(learner).load(saved)
            self.save_into(learner, self.folder / f"{name}-{self.world}-again")
        found["weights"] = dict(source)
        found["counted"] = (learner.steps_done, learner.updates_done, learner.skipped)
        found["said"] = self.answers(learner)
        found["random"] = torch.get_rng_state()
        found["next"], found["patched"] = followed(self, learner)
        found["after"] = dict(source)
        if self.rank == 0:
            torch.save(found, self.folder / f"{name}-{self.world}.pt")

    def taken(self, state: RankState) -> tuple[int, int]:
        """The bytes that were taken for snapshots before the first step, and those that the first snapshot needs."""
        deadline = time.monotonic() + PATIENCE_S
        while not len(state.taken.memory):
            assert time.monotonic() < deadline, "the memory was never taken"
            time.sleep(0.01)
        before = len(state.taken.memory)
        state.snapshot()
        return before, sum(fragment.length * fragment.dtype.itemsize for fragment in state.taken.fragments)

    def model_of(self, name: str) -> list[str]:
        """The setting of the model, where a state is named after a family."""
        model = self.folder / "families" / name
        return [f"model.path={model}"] if model.is_dir() else []

    def save_into(self, learner: Learner, folder: Path) -> None:
        """Save, and say that every rank has."""
        folder.mkdir(exist_ok=True)
        state = RankState(learner)
        state.prepare()
        state.snapshot()
        state.write(folder)
        torch.distributed.barrier()
        (folder / "done").touch()

    def moments(self, learner: Learner, source: ZeroWeightSource) -> dict[str, Tensor]:
        """Adam's first moment of every tensor, by DeepSpeed's own account; only ZeRO-3 has one in time. A collective."""
        if learner.zero.stage != 3:
            return {}
        return {
            name: tensor.assembled([safe_get_full_optimizer_state(part, "exp_avg").cpu() for part in tensor.parts], torch.float32)
            for name, tensor in source.tensors.items()
            if tensor.dtype is None  # no buffer
        }


settings_of = zero.zero_config


def with_torchs_adam(config: Config, world: int, *, on_cpu: bool) -> dict[str, Any]:
    """DeepSpeed's settings, with torch's AdamW also in host memory: DeepSpeed's own compiles for minutes."""
    found = settings_of(config, world, on_cpu=on_cpu)
    found["optimizer"]["params"]["torch_adam"] = True
    return found


def wait_for(path: Path) -> None:
    """Return once there is such a file; AssertionError after four minutes."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)


def whole_state(folder: Path) -> dict[tuple[str, str], Tensor]:
    """Every whole tensor of a saved state by kind and name, put together from its fragments; random states are left out."""
    with Files([folder / state_file(rank) for rank in range(len(read_counters(folder)))]) as files:
        found = {}
        for (kind, name), count in files.numbers().items():
            if kind != "random":
                found[kind, name] = torch.empty(count, dtype=files.types[kind, name])
                files.read(kind, name, 0, found[kind, name])
        return found
