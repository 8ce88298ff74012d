"""Where a run begins: at the model, at a checkpoint of its own, or at the weights of another run's checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.record.changes import NEEDED_TO_LOAD, Change, allowed_changes, changes, config_of
from cluster.record.checkpoint import Checkpoints, Position, read_position
from cluster.record.run_dir import never_began
from configs.home import expanded
from configs.loader import load
from configs.schema import Config
from learner.state.layout import refuse_other_layouts

AT_THE_MODEL = Position(step=0, next_group=0, pending=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What an attempt continues, and how its config differs from the attempt before."""

    checkpoint: Path | None = None  # of this run
    origin: Path | None = None  # of another run, whose weights a new run begins with
    position: Position = AT_THE_MODEL
    changes: Sequence[Change] = ()

    def describe(self, config: Config) -> list[str]:
        """Where the run starts, which damaged checkpoints it skips, and what is different from now on."""
        line = f"continuing {self.checkpoint} after step {self.position.step}" if self.checkpoint else f"a new run in {config.run_dir}"
        if self.origin:
            line += f" from the weights{' and the optimizer' if config.run.from_optimizer else ''} of {self.origin}"
        damaged = Checkpoints(config).passed_over() if config.run.resume == "auto" else []
        return [
            f"{line}; passed over as damaged: {', '.join(damaged)}" if damaged else line,
            *(f"changed after step {self.position.step}: {change}" for change in self.changes),
        ]


def where_to_begin(config: Config) -> Beginning:
    """What run.resume and run.from ask for; ValueError if it cannot be continued."""
    checkpoint, found = where_to_resume(config)
    if checkpoint is not None:
        return Beginning(checkpoint=checkpoint, position=read_position(checkpoint), changes=found)
    origin = find_origin(config)
    begun = [Change("run.from", None, str(origin))] if origin else []
    return Beginning(origin=origin, changes=[*found, *begun])


def where_to_resume(config: Config) -> tuple[Path | None, list[Change]]:
    """The checkpoint that run.resume asks for, None to begin anew, and the changes since; ValueError if it cannot be continued."""
    asked, kept = config.run.resume, config.run_dir / "config.toml"
    if asked == "never":
        return None, []
    found = allowed_changes(load(kept), config) if kept.exists() and not never_began(config.run_dir) else []
    if asked == "auto":
        if (newest := Checkpoints(config).newest()) is not None:
            refuse_other_layouts(newest)
        return newest, found
    checkpoint = expanded(asked).absolute()  # actors have working directories of their own
    if source := config_of(checkpoint):
        theirs = allowed_changes(source, config, checkpoint)
        found = found or theirs
    refuse_other_layouts(checkpoint)
    return checkpoint, found


def find_origin(config: Config) -> Path | None:
    """The checkpoint that run.from names; ValueError if there is none, or if these ranks cannot load it."""
    asked = config.run.origin
    if asked is None:
        return None
    folder = expanded(asked).absolute()
    inside = folder / "checkpoints"
    if not folder.is_dir():
        raise ValueError(f"run.from {asked} is no folder: give a checkpoint folder, or the folder of a run that has one")
    if inside.is_dir():
        newest = Checkpoints.within(inside)
        if newest is None:
            raise ValueError(f"run.from {asked} has no whole checkpoint: give another run, or a checkpoint folder")
        folder = newest
    read_position(folder)  # refuses a folder that is no whole checkpoint
    refuse_other_layouts(folder)
    source = config_of(folder)
    if source and (refused := changes(source, config, (*NEEDED_TO_LOAD, "learner.router"))):
        listed = "\n".join(f"  {change}" for change in refused)
        raise ValueError(
            f"run.from {folder} cannot be loaded with another config:\n{listed}\nset these back, or export it "
            "(python -m cluster export) and give the exported folder as model.path instead of run.from"
        )
    return folder
