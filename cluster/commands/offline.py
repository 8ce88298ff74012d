"""The commands for a trained policy: evaluate a checkpoint, export it."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cluster.actors.places.device import this_machine
from cluster.actors.places.fit import refuse_what_cannot_fit
from cluster.actors.session import joins_cluster, ray_session, refuse_ray_in_use
from cluster.actors.start import start_actors, start_learners
from cluster.commands.validate import check, model_settings
from cluster.loop.evaluation import evaluate
from cluster.models.hub import fetch_models
from cluster.publish.identity import prove_identity
from cluster.publish.renewing import renewing
from cluster.publish.turns import open_publisher
from cluster.record.changes import NEEDED_TO_LOAD, changes, config_of
from cluster.record.checkpoint import Checkpoints, read_position
from cluster.record.progress.progress import Progress
from cluster.stop import Stop
from configs.errors import CheckpointError, DataError, InputError
from configs.schema import Config
from configs.sections.objective import KlConfig
from learner.state.layout import refuse_other_layouts

T = TypeVar("T")


def checkpoint_of(config: Config, asked: str | None) -> Path | None:
    """The named checkpoint, else the newest of run.dir, None if there is none; ValueError if it cannot be loaded."""
    found = Path(asked).absolute() if asked else Checkpoints(config).newest()
    if found is not None:
        read_position(found)
        refuse_other_layouts(found)
        kept = config_of(found)
        if kept and (differing := changes(kept, config, NEEDED_TO_LOAD)):
            listed = "\n".join(f"  {change}" for change in differing)
            raise CheckpointError(f"{found} cannot be loaded with another config:\n{listed}\nset these back")
    return found


def evaluate_offline(config: Config, asked: str | None, show: Progress | None = None, stop: Stop | None = None) -> dict[str, float]:
    """Show and return the held-out correctness of a checkpoint, or of the model itself if there is none yet."""
    show = show or Progress(config.run.steps)
    config = fetch_models(without_reference(config), show.say)
    checked = check(config)
    if not checked.held_out:
        raise DataError("data.eval is not set, and there is no [data.evals.NAME]: name a file of held-out prompts")
    checkpoint = checkpoint_of(config, asked)

    async def work() -> dict[str, float]:
        async with start_actors(config, lambda _: None, checked.checkers, show.say, chat=checked.chat) as actors:
            publisher = open_publisher(config, actors.engines, actors.learners, actors.transport)
            await prove_identity(publisher, checked.prompts.prompts)
            version = read_position(checkpoint).step if checkpoint else 0
            if checkpoint:
                await actors.learners.load(checkpoint)
                await publisher.publish(version)
            return await renewing(actors.engines, lambda: publisher.publish(version), lambda: evaluate(actors.engines, checked.held_out))

    sets = " and ".join(f"{len(found.prompts)} prompts of {found.name or found.path}" for found in checked.held_out)
    show.say(f"evaluating {checkpoint or config.model.path} on {sets}")
    with logs_aside(config) as config:
        values = within_ray(config, work, show, stop)
    for name, value in values.items():
        show.say(f"{name} {value:.4f}")
    return values


@contextmanager
def logs_aside(config: Config) -> Iterator[Config]:
    """The config with a temporary run.dir where there is none: an evaluation must not make one. Its logs stay if it fails."""
    if config.run_dir.exists():
        yield config
        return
    folder = tempfile.mkdtemp(prefix="gatewise-evaluate-")
    yield config.model_copy(update={"run": config.run.model_copy(update={"dir": folder})})
    shutil.rmtree(folder)


def export_offline(config: Config, asked: str | None, to: str, show: Progress | None = None, stop: Stop | None = None) -> Path:
    """Write a checkpoint's policy as a Hugging Face folder that transformers and vLLM load; returns the folder."""
    show = show or Progress(config.run.steps)
    config = fetch_models(without_reference(config), show.say)
    model_settings(config, "model.path", config.model.path)
    checkpoint = checkpoint_of(config, asked)
    if checkpoint is None:
        raise CheckpointError(f"{config.run_dir} has no whole checkpoint to export: train first, or name one with --checkpoint")
    folder = Path(to).absolute()
    if folder.exists():
        raise InputError(f"{folder} exists: name a folder that does not")

    async def work() -> None:
        async with start_learners(config, show.say) as learners:
            await learners.load(checkpoint)
            await learners.export(folder)

    within_ray(config, work, show, stop)
    show.say(f"{checkpoint} exported to {folder}")
    return folder


def without_reference(config: Config) -> Config:
    """The config for ranks that do not train: they need no reference policy in memory."""
    return config.model_copy(update={"kl": KlConfig()})


def within_ray(config: Config, work: Callable[[], Coroutine[Any, Any, T]], show: Progress, stop: Stop | None) -> T:
    """Run `work` while Ray is up; ValueError before anything starts if the actors cannot fit. A stop cancels it and raises Stopped."""

    async def stoppable() -> T:
        if stop is None:
            return await work()
        with stop.answered(show.say, float(config.run.stop_s)):
            return await stop.cuts(work())

    refuse_ray_in_use()
    if not joins_cluster():
        refuse_what_cannot_fit(config, this_machine())
    with ray_session(config) as watch:
        return asyncio.run(watch.guard(stoppable()))
