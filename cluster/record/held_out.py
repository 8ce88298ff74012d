"""Greedy accuracy of the eval sets as it stands in a line of metrics."""

from collections.abc import Mapping
from typing import Any

FIRST, LAST = "eval/", "greedy"


def greedy_accuracies(values: Mapping[str, Any]) -> dict[str, float]:
    """By what people call the set: "held-out" for data.eval, else the set's name. Sets without a single verdict are absent."""
    keys = [key for key in values if key.startswith(FIRST) and key.rpartition("/")[2] == LAST and values[key] is not None]
    return {key[len(FIRST) : -len(LAST)].rstrip("/") or "held-out": float(values[key]) for key in sorted(keys, key=len)}


def describe_accuracies(values: Mapping[str, Any]) -> str:
    """All of them on one line: `held-out greedy accuracy 0.512, math 0.331`; empty if there are none."""
    found = greedy_accuracies(values)
    if not found:
        return ""
    listed = ", ".join(f"{value:.3f}" if name == "held-out" else f"{name} {value:.3f}" for name, value in found.items())
    return f"held-out greedy accuracy {listed}"
