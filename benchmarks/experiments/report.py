"""The results of the learning experiments: tables and pictures of curves."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.experiments.trial import LAST, Curve, Point

Curves = Sequence[Curve]
Line = tuple[NDArray[np.float64], NDArray[np.float64]]  # x and y of one curve
NONE = float("nan")
EVALUATIONS = 3  # averaged to find when a held-out level is reached: a single one is too noisy


def by_label(curves: Curves) -> dict[str, list[Curve]]:
    """The curves of each label, in the order of their first curves."""
    return _grouped(curves, lambda curve: curve.trial.label)


def by_condition(curves: Curves) -> dict[str, list[Curve]]:
    """The curves of each condition, in the order of their first curves."""
    return _grouped(curves, lambda curve: curve.trial.condition)


def _grouped(curves: Curves, key: Callable[[Curve], str]) -> dict[str, list[Curve]]:
    found: defaultdict[str, list[Curve]] = defaultdict(list)
    for curve in curves:
        found[key(curve)].append(curve)
    return dict(found)


def differences(curves: Curves, base: Curves, figure: Callable[[Curve], float]) -> list[float]:
    """The difference of a figure from the base's, seed by seed."""
    of_seed = {curve.trial.seed: figure(curve) for curve in base}
    return [figure(curve) - of_seed[curve.trial.seed] for curve in curves if curve.trial.seed in of_seed]


def last(curve: Curve, key: str) -> float:
    """A step's figure, averaged over the last steps that have it."""
    values = [point[key] for point in curve.steps[-LAST:] if point.get(key) is not None]
    return fmean(values) if values else NONE


def spread(values: Sequence[float], digits: int = 3, signed: bool = False) -> str:
    """Mean, smallest and largest, as text for a table."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return mean(known, digits, signed)
    low, high = (f"{value:{'+' if signed else ''},.{digits}f}" for value in (min(known), max(known)))
    return f"{mean(known, digits, signed)} ({low}…{high})"


def mean(values: Sequence[float | None], digits: int = 3, signed: bool = False) -> str:
    """The mean of the known values, as text for a table."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return f"{fmean(known):{'+' if signed else ''},.{digits}f}" if known else "-"


def endings(curves: Curves) -> str:
    """Which seeds ended early, and why."""
    return ", ".join(f"seed {c.trial.seed} {c.ended} at {len(c.steps)}" for c in curves if c.ended)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place > 1 else "left", no_wrap=place == 0)
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)


def crossing(points: Sequence[Point], key: str, level: float) -> float:
    """Tokens generated until the mean of a few evaluations first reaches a level, interpolated between them; NaN if it never does."""
    tokens, values = ([float(point[name]) for point in points if point[key] is not None] for name in ("tokens", key))
    means = [fmean(values[max(0, end - EVALUATIONS) : end]) for end in range(1, len(values) + 1)]
    for place, reached in enumerate(means):
        if reached >= level:
            before = max(0, place - 1)
            return float(np.interp(level, [means[before], reached], [tokens[before], tokens[place]]))
    return NONE


def rewards(curve: Curve) -> Line:
    """Correctness over steps, as the mean over the last few."""
    values = np.array([point["reward/correct"] for point in curve.steps], np.float64)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - LAST)
    return ends.astype(np.float64), (sums[ends] - sums[starts]) / (ends - starts)


def held_out(curve: Curve) -> Line:
    """Held-out correctness over generated tokens."""
    tokens, values = ([point[key] for point in curve.held_out] for key in ("tokens", "held_out/mean"))
    return np.array(tokens, np.float64), np.array(values, np.float64)


def draw(panels: Mapping[str, Mapping[str, Curves]], line: Callable[[Curve], Line], axes: tuple[str, str], path: Path) -> None:
    """Draw a panel each: for every label the mean over seeds, a band from smallest to largest, and a cross where a training ended early."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    size = (4.2 * across + 1, 3.2 * down)
    figure, grid = pyplot.subplots(down, across, figsize=size, layout="constrained", squeeze=False, sharex=True, sharey=True)
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, labels) in zip(grid.flat, panels.items(), strict=False):
        for number, (label, curves) in enumerate(labels.items()):
            _band(axis, label, f"C{number}", [line(curve) for curve in curves])
            for x, y in (line(curve) for curve in curves if curve.ended and curve.steps):
                axis.plot(x[-1:], y[-1:], "x", color=f"C{number}")
        axis.set_title(title)
        axis.set_xlabel(axes[0])
        axis.set_ylabel(axes[1])
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"drawn in {path}", flush=True)


def _band(axis: Any, label: str, colour: str, lines: Sequence[Line]) -> None:
    """Every seed's line read off at the same places; where all have ended there is no more band."""
    lines = [(x, y) for x, y in lines if len(x)]
    if not lines:
        return
    places = np.unique(np.concatenate([x for x, _ in lines]))
    rows = np.stack([np.interp(places, x, y, left=NONE, right=NONE) for x, y in lines])
    known = np.isfinite(rows).any(0)
    places, rows = places[known], rows[:, known]
    axis.plot(places, np.nanmean(rows, 0), color=colour, label=label)
    axis.fill_between(places, np.nanmin(rows, 0), np.nanmax(rows, 0), color=colour, alpha=0.2, linewidth=0)
