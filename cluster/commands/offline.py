"""The commands for a trained policy: evaluate a checkpoint, export it."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from cluster.actors.placement import local_nodes, refuse_what_cannot_fit
from cluster.actors.session import joins_cluster, ray_session, refuse_ray_in_use
from cluster.actors.start import start_actors, start_learners
from cluster.commands.validate import check, model_settings
from cluster.evaluation import evaluate
from cluster.interruption import Interruption
from cluster.publish.identity import prove_identity
from cluster.publish.publisher import Publisher
from cluster.record.checkpoint import Checkpoints, read_position
from cluster.record.progress import Progress
from cluster.record.run_dir import NEEDED_TO_LOAD, changes, config_of
from configs.errors import CheckpointError, DataError, InputError
from configs.schema import Config
from configs.sections.objective import KlConfig

T = TypeVar("T")


def checkpoint_of(config: Config, asked: str | None) -> Path | None:
    """The named checkpoint, else the newest of run.dir, None if there is none; ValueError if it cannot be loaded."""
    found = Path(asked).absolute() if asked else Checkpoints(config).newest()
    if found is not None:
        read_position(found)
        kept = config_of(found)
        if kept and (lines := changes(kept, config, NEEDED_TO_LOAD)):
            listed = "\n".join(lines)
            raise CheckpointError(f"{found} cannot be loaded with another config:\n{listed}\nset these back")
    return found


def evaluate_offline(
    config: Config, asked: str | None, show: Progress | None = None, interruption: Interruption | None = None
) -> dict[str, float]:
    """Show and return the held-out accuracy of a checkpoint, or of the model itself if there is none yet."""
    config = without_reference(config)
    checked = check(config)
    if not checked.held_out:
        raise DataError("data.eval is not set: name a file of held-out prompts")
    checkpoint = checkpoint_of(config, asked)
    show = show or Progress(config.run.steps)

    async def work() -> dict[str, float]:
        async with start_actors(config, lambda _: None, checked.checkers) as actors:
            publisher = Publisher(config, actors.engines, actors.learners, actors.transport)
            await prove_identity(publisher, checked.prompts.prompts)
            if checkpoint:
                await actors.learners.load(checkpoint)
                await publisher.publish(read_position(checkpoint).step)
            return await evaluate(actors.engines, checked.held_out, config.rollout.eval_responses)

    show.say(f"evaluating {checkpoint or config.model.path} on {len(checked.held_out)} prompts of {config.data.eval}")
    values = within_ray(config, work, interruption)
    for name, value in values.items():
        show.say(f"{name} {value:.4f}")
    return values


def export_offline(
    config: Config, asked: str | None, to: str, show: Progress | None = None, interruption: Interruption | None = None
) -> Path:
    """Write a checkpoint's policy as a Hugging Face folder that transformers and vLLM load; returns the folder."""
    config = without_reference(config)
    model_settings(config, "model.path", config.model.path)
    checkpoint = checkpoint_of(config, asked)
    if checkpoint is None:
        raise CheckpointError(f"{config.run_dir} has no whole checkpoint to export: train first, or name one with --checkpoint")
    folder = Path(to).absolute()
    if folder.exists():
        raise InputError(f"{folder} exists: name a folder that does not")

    async def work() -> None:
        async with start_learners(config) as learners:
            await learners.load(checkpoint)
            await learners.export(folder)

    within_ray(config, work, interruption)
    (show or Progress(config.run.steps)).say(f"{checkpoint} exported to {folder}")
    return folder


def without_reference(config: Config) -> Config:
    """The config for ranks that do not train: they need no reference policy in memory."""
    return config.model_copy(update={"kl": KlConfig()})


def within_ray(config: Config, work: Callable[[], Coroutine[Any, Any, T]], interruption: Interruption | None) -> T:
    """Run `work` while Ray is up; ValueError before anything starts if the actors cannot fit."""
    refuse_ray_in_use()
    if not joins_cluster():
        refuse_what_cannot_fit(config, local_nodes())
    with ray_session():
        return asyncio.run((interruption or Interruption()).stoppable(work()))
