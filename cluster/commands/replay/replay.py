"""Computes the step of a capsule again and says what differs from what was recorded."""

from dataclasses import dataclass
from pathlib import Path

from cluster.commands.replay.found import Check
from cluster.commands.replay.rewards import check_rewards
from cluster.record.capsules.files import CONFIG
from cluster.record.capsules.read import Capsule, NoCapsule, read_capsule
from configs.errors import ConfigError, InputError
from configs.loader import load
from configs.schema import Config


@dataclass(frozen=True, slots=True)
class Replay:
    """A capsule and the checks of its numbers."""

    capsule: Capsule
    checks: list[Check]

    @property
    def differs(self) -> bool:
        """Whether a number differs, or a file was changed."""
        return bool(self.capsule.damage) or any(check.different for check in self.checks)


def replay(folder: Path, model: Path | None = None) -> Replay:
    """Rewards, advantages, token weights, ratios and losses again; with `model`, log-probs and the gradient's norm too.

    NoCapsule where the folder holds none that can be read.
    """
    if model is not None and not (model / "config.json").is_file():
        raise InputError(f"--model got {model}, which has no config.json: give a Hugging Face folder")
    capsule = read_capsule(folder)
    config = config_of(capsule)
    from cluster.commands.replay.losses import check_losses
    from cluster.commands.replay.plan import check_plan
    from cluster.commands.replay.tensors import micro_batches

    try:
        batches = micro_batches(capsule)
        checks = [check_rewards(capsule, config), *check_plan(capsule, config, batches), *check_losses(capsule, config, batches)]
    except (ValueError, IndexError, KeyError, TypeError) as error:
        if not capsule.damage:
            raise
        changed = "; ".join(map(str, capsule.damage))
        raise NoCapsule(f"{folder} cannot be computed again ({error}): {changed}; copy the capsule again") from error
    if model is not None:
        from cluster.commands.replay.model import check_model

        checks += check_model(capsule, config, batches, model)
    return Replay(capsule, checks)


def config_of(capsule: Capsule) -> Config:
    """The run's config; NoCapsule where this version does not read it."""
    path = capsule.folder / CONFIG
    try:
        return load(path)
    except ConfigError as error:
        why = "; ".join(map(str, capsule.damage)) or f"Gatewise {capsule.version} wrote it"
        raise NoCapsule(f"{path} is no config of this version ({why}): {error}") from error
