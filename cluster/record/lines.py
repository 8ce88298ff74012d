"""Files of one JSON object a line, one line a step."""

import json
import math
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of such a file; one that a killed driver left half-written is passed over."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def cut_lines(path: Path, from_step: int) -> None:
    """Leave the lines up to a step, whole; none where a run starts over: it makes step 0, the evaluation before training, again."""
    if path.exists():
        kept = [line for line in read_lines(path) if line["step"] <= from_step] if from_step else []
        aside = path.with_suffix(".tmp")
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        aside.replace(path)


def plain(value: float) -> float | None:
    """The value, or None where JSON has no word for it."""
    return float(value) if math.isfinite(value) else None
