"""Where the GSM8K rows lie, for tests that want real answers."""

import json
import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("GATEWISE_DATA", Path(__file__).parents[3] / "shared" / "data"))


def gsm8k_rows(*splits: str) -> list[dict[str, str]]:
    """All rows of the splits "test", "train": "question", and "answer" ending in "#### 42"; skips the test where there are none."""
    paths = [DATA / "gsm8k" / f"{split}.jsonl" for split in splits]
    for path in paths:
        if not path.exists():
            pytest.skip(f"no GSM8K at {path}: set GATEWISE_DATA to the folder that holds gsm8k/{path.name}")
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def final_number(row: dict[str, str]) -> str:
    return row["answer"].rpartition("####")[2].strip()


def with_wrong_number(row: dict[str, str]) -> list[str]:
    """The row's solution with another final number: one more, its opposite or one less, a digit more."""
    steps, right = row["answer"].rpartition("####")[0], int(final_number(row).replace(",", ""))
    return [f"{steps}#### {wrong}" for wrong in (right + 1, -right or -1, f"{right}0" if right else 7)]
