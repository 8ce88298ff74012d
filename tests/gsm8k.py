"""Where the GSM8K rows lie, for tests that want real answers."""

import json
import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("GATEWISE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def gsm8k_rows(count: int) -> list[dict[str, str]]:
    """`count` rows spread over the test split: "question", and "answer" ending in "#### 42"; skips the test where there are none."""
    path = DATA / "gsm8k" / "test.jsonl"
    if not path.exists():
        pytest.skip(f"no GSM8K at {path}: set GATEWISE_DATA to the folder that holds gsm8k/test.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return rows[:: max(1, len(rows) // count)][:count]
