"""One rank's learner on disk: weights, optimizer, reference, counters and random state."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learner.learner import Learner


def save_state(learner: Learner, folder: Path) -> None:
    """Write this rank's state below `folder`. A collective."""
    learner.zero.save(folder)
    if learner.reference is not None:
        learner.reference.save(folder)
    counters: dict[str, Any] = {"steps_done": learner.steps_done, "updates_done": learner.updates_done, "skipped": learner.skipped}
    counters["expert_parallel"] = learner.config.learner.expert_parallel
    if entropy := learner.entropy.state():
        counters["entropy"] = entropy
    (folder / f"rank-{learner.rank}.json").write_text(json.dumps(counters))
    np.save(folder / f"rank-{learner.rank}-rng.npy", torch.get_rng_state().numpy())


def load_state(learner: Learner, folder: Path) -> None:
    """Restore what `save_state` wrote; ValueError if other ranks or another spread of experts wrote it. A collective."""
    state = read_counters(learner, folder)
    learner.zero.load(folder)
    if learner.reference is not None:
        learner.reference.load(folder)
    learner.steps_done = state.get("steps_done", 0)  # runs of 0.1.0 neither counted steps nor renewed a reference
    learner.updates_done, learner.skipped = state["updates_done"], state["skipped"]
    learner.entropy.restore(state.get("entropy", {}))
    torch.set_rng_state(torch.from_numpy(np.load(folder / f"rank-{learner.rank}-rng.npy")))


def load_weights(learner: Learner, folder: Path, *, optimizer: bool) -> None:
    """Take the weights that `save_state` wrote, and the optimizer's moments if asked: counters, reference and randomness stay new.

    ValueError if other ranks or another spread of experts wrote them. A collective.
    """
    read_counters(learner, folder)
    learner.zero.load(folder)
    if not optimizer:
        learner.zero.forget_moments()


def read_counters(learner: Learner, folder: Path) -> dict[str, Any]:
    """This rank's counters in a checkpoint; ValueError if other ranks or another spread of experts wrote it."""
    ranks = len(list(folder.glob("rank-*.json")))
    if ranks != learner.world:
        raise ValueError(f"{folder} was saved by {ranks} learner ranks, this run has {learner.world}: set learner.ranks={ranks}")
    state: dict[str, Any] = json.loads((folder / f"rank-{learner.rank}.json").read_text())
    spread, now = state.get("expert_parallel", 1), learner.config.learner.expert_parallel  # older runs could not spread experts
    if spread != now:
        raise ValueError(
            f"{folder} was saved with experts spread over {spread} ranks, this run has {now}: set learner.expert_parallel={spread}"
        )
    return state
