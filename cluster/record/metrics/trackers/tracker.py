"""What a tracker is: a place outside the run that shows its numbers, such as Weights & Biases.

One class for each, with its row in `table.TRACKERS`. It runs in a process of its own (`follow`), so it may block and may raise anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

Row = Mapping[str, Any]  # a line of JSON
LONGEST = 10_000  # letters of a text in a table
COLUMNS = ("step", "group", "prompt", "response", "tokens", "finish", "reward", "outcome", "reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What a tracker is told about the run that it shows."""

    folder: Path  # run.dir
    project: str
    name: str  # of the run, as people read it
    id: str  # that the tracker gave or takes; the same after a resume
    resumed: bool  # whether the tracker already has a run of this id
    attempt: int
    sent: int  # newest step that was handed to it, -1 before the first
    offline: bool
    config: Row  # config.toml as tables


class Tracker(Protocol):
    """One run at one tracker. Every method returns once the tracker has what it was given, or raises."""

    package: ClassVar[str]  # that it needs
    id: str  # of the run there
    url: str  # where people look at it; a folder where it is a folder
    known: int | None  # newest step that the tracker itself says it has; None where it does not say

    def __init__(self, run: Tracked) -> None:
        """Connect, and begin the run there or go on with it."""

    @staticmethod
    def destination(folder: Path, offline: bool) -> str:
        """Where the run goes: another destination gets the run from its beginning."""

    def rewind(self, step: int) -> None:
        """The steps after `step` are undone, and other ones follow."""

    def scalars(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """The values of steps, in order; all are finite."""

    def responses(self, step: int, rows: Sequence[Row]) -> None:
        """Sample responses of a step, as `responses/` has them."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """A PNG file that was drawn anew."""

    def health(self, step: int, text: str) -> None:
        """What a health rule has seen."""

    def close(self) -> None:
        """End the run there; returns once everything is delivered."""


def flat(table: Row, above: str = "") -> dict[str, Any]:
    """Every key of the config as section.key, with its value."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{above}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def cells(step: int, rows: Sequence[Row]) -> list[list[Any]]:
    """A table's rows under COLUMNS; texts are cut to LONGEST letters."""
    return [[step if column == "step" else cell(row.get(column)) for column in COLUMNS] for row in rows]


def cell(value: Any) -> Any:
    """A value as a table takes it: a number, a truth value or a text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    # A lone surrogate is no UTF-8, which every tracker writes.
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text)} letters)"
