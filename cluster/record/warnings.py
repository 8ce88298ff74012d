"""`warnings.jsonl` in the run directory: when each warning began, when it ended, and its text.

{"step": 12, "warning": "truncated", "event": "begins", "message": "..."}
{"step": 30, "warning": "truncated", "event": "ends"}        the last step that showed the symptom
"""

from dataclasses import dataclass
from pathlib import Path

from cluster.record.metrics.lines import LineFile, read_lines

WARNINGS = "warnings.jsonl"


@dataclass(frozen=True, slots=True)
class Period:
    """One warning from its first to its last step; `last` is None while it goes on."""

    name: str
    first: int
    message: str
    last: int | None = None


class WarningLog:
    """The file of one run, created with its first line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / WARNINGS
        self.file = LineFile(self.path)

    def cut(self, from_step: int) -> None:
        """Drop the lines after a checkpoint."""
        self.file.cut(from_step)

    def begin(self, step: int, name: str, message: str) -> None:
        self.file.add({"step": step, "warning": name, "event": "begins", "message": message})

    def end(self, step: int, name: str) -> None:
        self.file.add({"step": step, "warning": name, "event": "ends"})

    def open(self) -> list[str]:
        """The names of the warnings that have begun and not ended."""
        return [period.name for period in read_warnings(self.path.parent) if period.last is None]

    def flush(self) -> None:
        """Bring every line to the disk; OSError if that is impossible."""
        self.file.flush()

    def complaint(self) -> str:
        """Which lines could not be written yet; empty if none."""
        return self.file.complaint()


def read_warnings(folder: Path) -> list[Period]:
    """The warnings of a run in the order in which they began."""
    path = folder / WARNINGS
    periods: list[Period] = []
    for line in read_lines(path) if path.exists() else ():
        if line["event"] == "begins":
            periods.append(Period(line["warning"], line["step"], line["message"]))
            continue
        place = max(place for place, period in enumerate(periods) if period.name == line["warning"])
        old = periods[place]
        periods[place] = Period(old.name, old.first, old.message, line["step"])
    return periods
