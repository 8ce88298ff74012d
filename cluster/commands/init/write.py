"""Looks at data, model and machine, and writes the config."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.commands.init.data import held_out_beside, look_at
from cluster.commands.init.machine import this_machine
from cluster.commands.init.model import read_model
from cluster.commands.init.recipe import Seen, text
from cluster.commands.init.rows import Told
from cluster.commands.init.split import refuse_too_large_for_cpus, split_gpus
from cluster.commands.resuming.going_on import program
from cluster.commands.validate import check
from cluster.models.hub import fetch_models
from configs.loader import load

MOST_DROPPED = 0.5  # share of prompts that may be too long for the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The arguments of the command."""

    data: str
    model: str
    held_out: str | None
    splits: tuple[str, str]  # of the data and of the held-out data
    told: Told
    gpus: int | None
    gpu_gb: float | None
    gpus_per_node: int

    @property
    def arguments(self) -> str:
        """The arguments that matter for what was written."""
        gpus = f" --gpus {self.gpus}" if self.gpus is not None else ""
        return f"init {shlex.join((self.data, self.model))}{gpus}"


def write_config_for(asked: Asked, to: Path) -> Sequence[str]:
    """Write a config and check it; the lines of the check. ValueError where a file is in the way, or nothing fits."""
    if is_there(to):
        raise ValueError(f"{to} exists: name another file with --to, or delete it")
    if not to.absolute().parent.is_dir():
        raise ValueError(f"{to} cannot be written: there is no folder {to.absolute().parent}; make it, or name another file with --to")
    seen, words = look(asked, to.stem), shlex.join(program())
    try:
        to.write_text(text(seen, f"{words} {asked.arguments}", words, to), encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{to} cannot be written ({error}): name another file with --to") from error
    try:
        config = load(to)
    except ValueError as error:
        to.unlink()
        raise ValueError(f"no config was written, because it could not be loaded:\n{error}") from error
    try:
        return check(fetch_models(config, print), here=asked.gpus is None, gpu_gb=asked.gpu_gb).lines
    except ValueError as error:
        raise ValueError(f"{to} is written, but must be completed by hand before it can train:\n{error}") from error


def is_there(to: Path) -> bool:
    """Whether the file exists; ValueError for a name that the file system cannot have."""
    try:
        return to.exists()
    except OSError as error:
        raise ValueError(f"{to} cannot be written ({error.strerror}): name another file with --to") from error


def look(asked: Asked, name: str) -> Seen:
    """Everything that the config is written from."""
    model = read_model(asked.model)
    machine = this_machine(asked.gpus, asked.gpu_gb, asked.gpus_per_node)
    split = None
    if machine.gpus:
        split = split_gpus(machine, model)
    else:
        refuse_too_large_for_cpus(machine, model)
    train = look_at(asked.data, asked.splits[0], model.tokenizer, asked.told)
    source = asked.held_out or held_out_beside(asked.data)
    held_out = look_at(source, asked.splits[1], model.tokenizer, asked.told) if source else None
    seen = Seen(model=model, train=train, held_out=held_out, machine=machine, split=split, name=name)
    if seen.drops > MOST_DROPPED:
        raise ValueError(
            f"{100 * seen.drops:.0f} % of the prompts of {asked.data} have more than {seen.prompt_tokens} tokens, the most that "
            f"the context of {model.path} ({model.context} tokens) leaves room for: give shorter prompts, or a model with a longer context"
        )
    return seen
