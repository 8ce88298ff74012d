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
    pending: Sequence[int]  # groups submitted and not yet settled


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
        for old in self.whole()[: -self.keep]:
            shutil.rmtree(old)
        return whole

    def whole(self) -> list[Path]:
        """Every complete checkpoint, oldest first."""
        if not self.folder.exists():
            return []
        return [path for path in sorted(self.folder.glob("step_*")) if path.suffix != ".tmp" and not faults(path)]

    def newest(self) -> Path | None:
        """The newest complete checkpoint; a damaged one is passed over for the one before it."""
        found = self.whole()
        return found[-1] if found else None


def read_position(checkpoint: Path) -> Position:
    """Where the run stood; ValueError where the folder is no whole checkpoint."""
    wrong = faults(checkpoint)
    if wrong:
        raise ValueError(f'{checkpoint} is not a whole checkpoint ({wrong[0]}): choose another, or resume with "auto"')
    return Position(**json.loads((checkpoint / STATE).read_text())["position"])


def faults(checkpoint: Path) -> list[str]:
    """What is missing or cut short in a checkpoint; empty when it is whole."""
    try:
        files: dict[str, int] = json.loads((checkpoint / STATE).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{STATE} cannot be read: {error}"]
    return [
        f"{name} should have {size} bytes"
        for name, size in files.items()
        if not (checkpoint / name).is_file() or (checkpoint / name).stat().st_size != size
    ]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
