"""Checkpoints: written aside, renamed when whole, `latest` last; only whole ones are ever found again."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from configs.schema import Config

STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a run stands between two steps: all that is needed to hand out the same prompts in the same order."""

    step: int
    next_group: int
    pending: Sequence[int]  # groups submitted and not yet settled; a tuple when it comes from a checkpoint


class Checkpoints:
    """The checkpoints of one run, oldest deleted first, never the only whole one."""

    def __init__(self, config: Config) -> None:
        self.folder = config.run_dir / "checkpoints"
        self.keep = config.run.keep_checkpoints

    def begin(self, step: int) -> Path:
        """An empty folder to write step's state into; it does not count until `commit`."""
        aside = self.folder / f"step_{step:06d}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        return aside

    def commit(self, aside: Path, position: Position) -> Path:
        """Seal what the ranks wrote: sizes of all files, flushed to disk, renamed, `latest` last."""
        files = {str(path.relative_to(aside)): path.stat().st_size for path in sorted(aside.rglob("*")) if path.is_file()}
        (aside / STATE).write_text(json.dumps({"position": asdict(position), "files": files}, indent=1))
        for path in [*aside.rglob("*"), aside]:
            _flush(path)
        whole = aside.with_suffix("")
        shutil.rmtree(whole, ignore_errors=True)
        aside.rename(whole)
        latest = self.folder / "latest.tmp"
        latest.write_text(whole.name)
        _flush(latest)
        latest.replace(self.folder / "latest")
        _flush(self.folder)
        kept = self.whole()[-self.keep :]
        for other in list(self.folder.glob("step_*")):  # older ones, and what a killed save or a resume left behind
            if other not in kept:
                shutil.rmtree(other, ignore_errors=True)
        return whole

    def whole(self) -> list[Path]:
        """Every complete checkpoint, oldest first."""
        return [path for path in self._named() if not faults(path)]

    def set_aside_after(self, step: int) -> None:
        """Have checkpoints of later steps never found again: the run goes on from `step`. They are deleted once the next is whole."""
        for path in self._named():
            if _step_of(path) > step:
                undone = path.with_suffix(".undone")
                shutil.rmtree(undone, ignore_errors=True)
                path.rename(undone)

    def newest(self) -> Path | None:
        """The newest complete checkpoint; a damaged one is passed over for the one before it."""
        found = self.whole()
        return found[-1] if found else None

    def _named(self) -> list[Path]:
        return sorted((path for path in self.folder.glob("step_*") if path.name[5:].isdecimal()), key=_step_of)


def read_position(checkpoint: Path) -> Position:
    """Where the run stood; ValueError where the folder is no whole checkpoint."""
    wrong = faults(checkpoint)
    if wrong:
        raise ValueError(f'{checkpoint} is not a whole checkpoint ({wrong[0]}): choose another, or resume with "auto"')
    return _read_state(checkpoint)[0]


def faults(checkpoint: Path) -> list[str]:
    """What is missing or cut short in a checkpoint; empty when it is whole."""
    try:
        _, files = _read_state(checkpoint)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{STATE} cannot be read: {error}"]
    return [
        f"{name} should have {size} bytes"
        for name, size in files.items()
        if not (checkpoint / name).is_file() or (checkpoint / name).stat().st_size != size
    ]


def _read_state(checkpoint: Path) -> tuple[Position, dict[str, int]]:
    state = json.loads((checkpoint / STATE).read_text())
    position = state["position"]
    return Position(step=position["step"], next_group=position["next_group"], pending=tuple(position["pending"])), state["files"]


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name[5:])


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
