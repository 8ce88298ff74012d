"""Texts short enough for a page of bounded size: the middle of the longest ones is left out, and the page says how much."""

import gzip
import json
from collections.abc import Sequence
from typing import Any

from cluster.report.lines import Row

BUDGET = 5_000_000  # bytes of all texts of a report, compressed; base64 makes 7 MB of them
LIMITS = (2_000_000, 400_000, 100_000, 40_000, 16_000, 6_000, 2_000, 600, 200)  # characters of a text; the first that fits is taken
SAMPLE = 200  # rows whose compression is tried
LARGEST = 2**53  # whole numbers beyond it are text, as JavaScript would round them


def shortened(rows: Sequence[Row], budget: int = BUDGET) -> tuple[list[Row], int | None]:
    """The rows with no text above a limit, and the limit in characters; None where no text was cut."""
    sample = rows[:: max(1, len(rows) // SAMPLE)]
    for limit in LIMITS:
        cut = [shorter(row, limit) for row in sample]
        size = len(gzip.compress(json.dumps(cut, ensure_ascii=False).encode("utf-8", errors="replace"), 6))
        if size * len(rows) <= budget * max(1, len(sample)):
            break
    made = [shorter(row, limit) for row in rows]
    return made, limit if any(is_cut(row) for row in made) else None


def shorter(value: Any, limit: int) -> Any:
    """A value of JSON whose texts are at most `limit` characters long; of a longer one {"head", "left_out", "tail"} remain."""
    if isinstance(value, str) and len(value) > limit:
        head, tail = limit * 2 // 3, limit // 3
        return {"head": value[:head], "left_out": len(value) - head - tail, "tail": value[len(value) - tail :]}
    if isinstance(value, dict):
        return {str(key)[:limit]: shorter(inner, limit) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shorter(inner, limit) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return shorter(words(value), limit)
    return value


def words(value: int) -> str:
    """The digits of a large number; of one too long for Python's limit only how many bits it has."""
    try:
        return str(value)
    except ValueError:
        return f"a whole number of {value.bit_length()} bits"


def is_cut(value: Any) -> bool:
    """Whether a text within a value was cut."""
    if isinstance(value, dict):
        return "left_out" in value or any(map(is_cut, value.values()))
    return isinstance(value, list) and any(map(is_cut, value))
