"""Shared by all benchmarks: the number of rounds, running sides in turns, and the rows of results."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "benchmarks"
CONFIG = ROOT / "configs" / "tiny_cpu.toml"

Answers = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How often to measure."""

    warm_up: int  # rounds that do not count: the first batches after a start take seconds
    rounds: int
    steps: int  # of each training run
    runs: int  # training runs of each kind


FULL = Size(warm_up=3, rounds=21, steps=25, runs=2)
QUICK = Size(warm_up=1, rounds=3, steps=8, runs=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table: one figure per round."""

    what: str
    unit: str  # "x" where the figure is a ratio
    values: Sequence[float]

    @property
    def spread(self) -> tuple[float, float, float]:
        """Smallest, median and largest figure."""
        return min(self.values), statistics.median(self.values), max(self.values)


def alternate(sides: Mapping[str, Callable[[int], dict[str, Any]]], size: Size) -> dict[str, Answers]:
    """Run every side once per round, A B A B ..., so that a slow machine slows all sides alike; the answers after warm-up."""
    kept: dict[str, Answers] = {side: [] for side in sides}
    for number in range(size.warm_up + size.rounds):
        warming = number < size.warm_up
        said = []
        for side, work in sides.items():
            answer = work(number)
            said.append(f"{side} {answer['seconds']:.3f} s")
            if not warming:
                kept[side].append(answer)
        label = "warm-up" if warming else f"round {number - size.warm_up + 1}/{size.rounds}"
        print(f"  {label:>12}  {'  '.join(said)}", flush=True)
    return kept


def figures(what: str, unit: str, answers: Answers, key: str) -> Row:
    """A row of one figure of the answers."""
    return Row(what=what, unit=unit, values=[float(answer[key]) for answer in answers])


def ratio(what: str, over: Sequence[float], under: Sequence[float]) -> Row:
    """A row of ratios, one per round."""
    return Row(what=what, unit="x", values=[a / b for a, b in zip(over, under, strict=True)])
