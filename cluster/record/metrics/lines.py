"""Files with one JSON object a line and one line a step."""

import json
import math
import os
from pathlib import Path
from typing import Any

from configs.errors import NoRun


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of such a file; a line that a killed driver left half-written is skipped."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise NoRun(f"{path} holds no lines of JSON ({error}): give a run.dir whose files a run has written") from error
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def cut_lines(path: Path, from_step: int) -> None:
    """Keep the lines up to `from_step`; none at 0, since a run that starts over evaluates before training again, which is step 0."""
    if path.exists():
        kept = [line for line in read_lines(path) if line["step"] <= from_step] if from_step else []
        aside = path.with_suffix(".tmp")
        with aside.open("w") as file:
            file.write("".join(json.dumps(line) + "\n" for line in kept))
            file.flush()
            os.fsync(file.fileno())  # a power cut may keep the new name and lose the lines, which were on the disk before
        aside.replace(path)


def plain(value: float) -> float | None:
    """The value, or None if it is NaN or infinite, which JSON cannot say."""
    return float(value) if math.isfinite(value) else None
