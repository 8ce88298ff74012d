"""Files with one JSON object a line and one line a step."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from cluster.record.saves.replace import replace_text
from configs.arithmetic import counted
from configs.errors import NoRun


class LineFile:
    """A file to which lines are added. What the disk does not take waits in memory, and goes first once there is room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting = b""
        self.why = ""  # of the last try that failed
        self.descriptor: int | None = None

    def add(self, line: dict[str, Any]) -> None:
        """Add a line to the file, which is made with its first one. Never fails: `complaint` says what waits."""
        self.waiting += json.dumps(line).encode() + b"\n"
        self._try()

    def flush(self) -> None:
        """Bring every line to the disk; OSError if one still waits."""
        if self.waiting and (error := self._try()):
            raise error
        if self.descriptor is not None:
            os.fsync(self.descriptor)

    def cut(self, from_step: int) -> None:
        """Keep the lines up to a checkpoint's step. Those that wait are of later steps: a checkpoint is written after its own."""
        self.waiting = b""
        self.close()  # the file is replaced, and the next line must not go to the old one
        cut_lines(self.path, from_step)

    def complaint(self) -> str:
        """Which lines wait; empty if none does."""
        if not self.waiting:
            return ""
        lines = counted(self.waiting.count(b"\n"), "line")
        return f"{lines} of {self.path.name} cannot be written yet ({self.why})"

    def close(self) -> None:
        """Write what waits, if that is possible now, and close the file."""
        self._try()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def _try(self) -> OSError | None:
        try:
            while self.waiting:
                if self.descriptor is None:
                    self.descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
                self.waiting = self.waiting[os.write(self.descriptor, self.waiting) :]
        except OSError as error:
            self.why = error.strerror or str(error)
            return error
        return None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of such a file; a line that is none is skipped, such as one that a killed driver left half-written."""
    return [row for row in read_values(path) if isinstance(row, dict)]


def read_values(path: Path) -> list[Any]:
    """What the lines of such a file say, objects or not; NoRun where it is no text."""
    values = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # texts may hold other ends of lines
    except UnicodeDecodeError as error:
        raise NoRun(f"{path} holds no lines of JSON ({error}): give a run.dir whose files a run has written") from error
    for line in lines:
        try:
            values.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError):
            continue
    return values


def step_files(folder: Path) -> list[tuple[int, Path]]:
    """The files `step_N.jsonl` of a folder with their steps, in order; a copy such as "step_000012 (1).jsonl" is none of them."""
    found = ((path.stem.removeprefix("step_"), path) for path in folder.glob("step_*.jsonl"))
    return sorted((int(digits), path) for digits, path in found if digits.isdecimal() and path.is_file())


def cut_lines(path: Path, from_step: int) -> None:
    """Keep the lines up to `from_step`; none at 0, since a run that starts over evaluates before training again, which is step 0."""
    if path.exists():
        kept = [line for line in read_lines(path) if line["step"] <= from_step] if from_step else []
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def is_number(value: object) -> bool:
    """Whether a value of a line is a number that a float can hold; null stands for one that is not finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def plain(value: float) -> float | None:
    """The value, or None if it is NaN or infinite, which JSON cannot say."""
    return float(value) if math.isfinite(value) else None
