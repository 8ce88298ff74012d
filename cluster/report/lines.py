"""Files of JSON as a report reads them: a run may be at work, older than this version, or damaged, and the page shows what is there."""

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The objects of a file with one JSON object a line; lines that are none, such as a half-written last one, are left out."""
    try:
        raw = path.read_bytes()
    except OSError:
        return []
    rows = []
    for line in raw.split(b"\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def read_steps(path: Path) -> list[Row]:
    """The rows that name their step, in rising order; of two rows of one step the later line counts."""
    found = {row["step"]: row for row in read_rows(path) if type(row.get("step")) is int}
    return [found[step] for step in sorted(found)]


def number(value: object) -> float | None:
    """A finite number of a row, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    found = float(value) if abs(value) < 1e300 else float("nan")  # noqa: PLR2004, since a whole number may exceed every float
    return found if found - found == 0 else None
