"""What a selfcheck runs: sizes that fit here, a model, a task, and the config of the first run."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.actors.places.device import count_gpus, decide, this_machine
from cluster.actors.session import joins_cluster
from cluster.commands.selfcheck.scaled.settings import changes, config_of
from cluster.commands.selfcheck.scaled.shrink import ON_CPU, ON_GPU
from cluster.commands.selfcheck.scaled.sizes import RunSizes, fitted
from cluster.commands.selfcheck.scaled.small_model import read_description, write_small_model, write_tiny_model
from cluster.commands.selfcheck.scaled.task import write_task
from cluster.models.hub import fetch_models
from configs.arithmetic import counted, model_config
from configs.errors import InputError, raises
from configs.given import configured
from configs.parameters import count_parameters
from configs.schema import Config
from configs.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A selfcheck that is ready to run."""

    config: Config
    model: dict[str, Any]  # config.json of the model that runs
    gpu: bool
    full: bool
    changed: list[str]  # what differs from the recipe

    def describe(self) -> list[str]:
        """What will run, and every difference from the recipe."""
        engines, ranks, count = self.config.rollout.most_engines, self.config.learner.ranks, count_parameters(self.model)
        size = f", {count.total / 1e6:,.1f}M parameters" if count else ""
        where = "GPUs" if self.gpu else "this machine's CPU cores"
        return [
            f"{self.model.get('model_type')}{size}; {counted(engines, 'engine')} and {counted(ranks, 'rank')} on {where}",
            *(f"  other than the recipe: {line}" for line in self.changed),
        ]


def prepare(recipe: Config | None, folder: Path, *, full: bool, gpus: int | None) -> Prepared:
    """Write model and task into `folder`. InputError where the recipe's model cannot be read, or where nothing fits."""
    there = gpus_of_this_machine() if gpus is None else gpus
    if recipe is not None and recipe.run.device == "cpu":
        there = 0
    whole = tiny_recipe(there) if recipe is None else recipe
    gpu, sizes, changed = there > 0, fitted(whole, there), []
    paths = write_task(folder) | {"run": str(folder / "run"), "model": str(folder / "model")}
    if full and recipe is not None:
        paths["model"] = fetch_models(whole, print).model.path
    elif recipe is None:
        write_tiny_model(whole.model.dtype, folder / "model")
    else:
        changed += small_model_of(whole, sizes, folder / "model", gpu=gpu)
    model = model_config(whole.model_copy(update={"model": whole.model.model_copy(update={"path": paths["model"]})}))
    config = config_of(whole, sizes, model, gpu=gpu, cpus=os.cpu_count() or 1, full=full, paths=paths)
    if recipe is not None:
        changed += changes(whole, config, sizes)
    return Prepared(config=config, model=model, gpu=gpu, full=full, changed=changed)


def gpus_of_this_machine() -> int:
    """The GPUs that a run of this machine could use: none where the installed torch is a build for CPUs."""
    gpus = count_gpus(this_machine())
    return int(gpus) if decide("auto", gpus) else 0


@raises(InputError)
def refuse_absent_gpus(asked: int | None) -> None:
    """Raise InputError where a run on this machine alone would have fewer GPUs than were asked for."""
    there = gpus_of_this_machine()
    if asked and asked > there and not joins_cluster():
        raise ValueError(
            f"--gpus {asked}: the installed packages can use {counted(there, 'GPU')} of this machine: `gatewise doctor` says why, "
            "--gpus 0 tries its CPU cores; for a cluster set RAY_ADDRESS"
        )


def small_model_of(recipe: Config, sizes: RunSizes, to: Path, *, gpu: bool) -> list[str]:
    """Write the small model of a recipe's family; returns what was changed."""
    source, model = read_description(recipe.model.path)
    room = ON_GPU if gpu else ON_CPU
    spread = max(sizes.expert_parallel, sizes.tensor_parallel if recipe.rollout.vllm.get("enable_expert_parallel") else 1)
    whose = write_small_model(source, model, replace(room, tensor_parallel=sizes.tensor_parallel, spread=spread), recipe.model.dtype, to)
    return [f"model.path: a random small model of {model['model_type']}, with {whose}"]


def tiny_recipe(gpus: int) -> Config:
    """The recipe without a config: the tiny mixture, two engines where they fit, GRPO with the engine's experts replayed."""
    learner: Table = {"routing": "replay_rollout", "micro_batch_tokens": 16384}
    if gpus:
        learner["deepspeed"] = {"zero_optimization": {"stage": 1}}
    return configured(
        {
            "model": {"path": "tiny", "dtype": "bfloat16" if gpus else "float32"},
            "data": {"train": "sums", "chat_template": False},
            "rollout": {"engines": 1 if gpus == 1 else 2, "capture_routing": True, "vllm": {"gpu_memory_utilization": 0.5} if gpus else {}},
            "reward": {"checker": "exact"},
            "learner": learner,
            "objective": {"preset": "grpo"},
            "placement": {"share": gpus == 1},
        }
    )
