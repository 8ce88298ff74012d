"""The tiny model's task: two-digit addition. Every sum is either for training or held out."""

import json
import random
from pathlib import Path

HELD_OUT = 256

Row = dict[str, str]


def split_sums(seed: int, held_out: int = HELD_OUT) -> tuple[list[Row], list[Row]]:
    """All 8,100 sums of two two-digit numbers in a shuffled order, as disjoint (train, eval) rows."""
    rows = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(10, 100) for b in range(10, 100)]
    random.Random(seed).shuffle(rows)
    return rows[held_out:], rows[:held_out]


def write_rows(path: Path, rows: list[Row]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
