"""Greedy correctness on the eval sets, as it stands in a line of metrics."""

import math
from collections.abc import Mapping
from typing import Any

FIRST, LAST = "eval/", "greedy"
UNNAMED = "held-out"  # what people call the set of data.eval


def greedy_correctness(values: Mapping[str, Any]) -> dict[str, float]:
    """By the name of the set, "held-out" for data.eval. Sets without a single verdict are absent."""
    keys = [key for key in values if key.startswith(FIRST) and key.rpartition("/")[2] == LAST]
    known = [key for key in keys if values[key] is not None and math.isfinite(values[key])]
    return {key[len(FIRST) : -len(LAST)].rstrip("/") or UNNAMED: float(values[key]) for key in sorted(known, key=len)}


def describe_correctness(values: Mapping[str, Any]) -> str:
    """All of them on one line: `held-out correctness 0.512, math 0.331`; empty if there are none."""
    found = greedy_correctness(values)
    listed = ", ".join(f"{value:.3f}" if name == UNNAMED else f"{name} {value:.3f}" for name, value in found.items())
    return f"held-out correctness {listed}" if found else ""
