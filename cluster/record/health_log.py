"""`health.jsonl` in the run directory: when each symptom began, what was seen, what to do, and when it ended.

{"step": 12, "rule": "truncated", "event": "begins", "seen": "...", "advice": "..."}
{"step": 30, "rule": "truncated", "event": "ends"}        the last step that showed the symptom

Runs of version 0.10 and before have `warnings.jsonl` instead, with "warning" and one "message". It is read where only that exists.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.record.metrics.lines import LineFile, read_lines

HEALTH, FORMER = "health.jsonl", "warnings.jsonl"


@dataclass(frozen=True, slots=True)
class Period:
    """One symptom from its first to its last step; `last` is None while it goes on."""

    rule: str
    first: int
    seen: str
    advice: str = ""
    last: int | None = None

    @property
    def message(self) -> str:
        """What the terminal shows."""
        return f"{self.seen}: {self.advice}" if self.advice else self.seen


class HealthLog:
    """The file of one run, created with its first line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / HEALTH
        self.file = LineFile(self.path)

    def cut(self, from_step: int) -> None:
        """Drop the lines after a checkpoint. A run that an older version began goes on in the new file."""
        former = self.path.with_name(FORMER)
        if former.exists() and not self.path.exists():
            for line in read_lines(former):
                self.file.add(_as_now(line))
            self.file.flush()
        self.file.cut(from_step)

    def begin(self, step: int, rule: str, seen: str, advice: str) -> None:
        self.file.add({"step": step, "rule": rule, "event": "begins", "seen": seen, "advice": advice})

    def end(self, step: int, rule: str) -> None:
        self.file.add({"step": step, "rule": rule, "event": "ends"})

    def open(self) -> list[str]:
        """The rules whose symptom has begun and not ended."""
        return [period.rule for period in read_health(self.path.parent) if period.last is None]

    def flush(self) -> None:
        """Bring every line to the disk; OSError if that is impossible."""
        self.file.flush()

    def complaint(self) -> str:
        """Which lines could not be written yet; empty if none."""
        return self.file.complaint()


def read_health(folder: Path) -> list[Period]:
    """The symptoms of a run in the order in which they began."""
    path = next((path for name in (HEALTH, FORMER) if (path := folder / name).exists()), None)
    periods: list[Period] = []
    for line in map(_as_now, read_lines(path)) if path else ():
        rule, step = line.get("rule"), line.get("step")
        if not isinstance(rule, str) or type(step) is not int:
            continue
        if line.get("event") == "begins":
            periods.append(Period(rule, step, str(line.get("seen", "")), str(line.get("advice", ""))))
        for place in [place for place, period in enumerate(periods) if period.rule == rule and line.get("event") == "ends"][-1:]:
            periods[place] = replace(periods[place], last=step)
    return periods


def _as_now(line: dict[str, Any]) -> dict[str, Any]:
    """A line of either file in the form of today."""
    if "rule" in line:
        return line
    now = {"step": line.get("step"), "rule": line.get("warning"), "event": line.get("event")}
    return now | ({"seen": line["message"], "advice": ""} if "message" in line else {})
