"""The run as a picture: a panel for each curve that says whether a run learns, and how fast."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cluster.record.metrics.held_out import UNNAMED, greedy_correctness
from cluster.record.pictures.page import BLUE, GREEN, ORANGE, PURPLE, step_axis, title_of, write_page
from configs.sections.mismatch import PARTS

SMOOTH = 10  # steps of the running mean
FEW = 4  # points up to which each is marked: a line through one point shows nothing
SMALL = 0.01  # a share that fills its axis
WIDE = 30.0  # ratio of the largest value to the smallest from which an axis is logarithmic

Rows = Sequence[dict[str, Any]]
Curve = tuple[str, str, str]  # key, label, colour


def draw(rows: Rows, path: Path) -> None:
    """Write a PNG of the metrics' curves; the run's name and model come from the folder of `path`."""
    parts = [part for part in PARTS if any(row.get(f"split/{part}") is not None for row in rows)]
    episodes = any(row.get("turns/mean") is not None for row in rows)
    newest = max((row["step"] for row in rows), default=0)
    height = 8.9 + 2.7 * (bool(parts) + episodes)
    write_page(path, title_of(path.parent, newest), (13, height), partial(_fill, rows=rows, parts=parts, episodes=episodes))


def _fill(figure: Figure, rows: Rows, parts: Sequence[str], episodes: bool = False) -> None:
    panels = list(figure.subplots(3 + bool(parts) + episodes, 3).flat)
    _whole_run(panels[:9], rows)
    if episodes:
        _episodes(panels[9:12], rows)
    if parts:
        _mismatch(panels[-3:], rows, parts)
    for axis in panels[:-3]:
        axis.set_xlabel("")
    figure.supxlabel(f"thin line: each step; thick line: mean of {SMOOTH} steps", fontsize="medium")


def _whole_run(panels: Sequence[Axes], rows: Rows) -> None:
    _curves(panels[0], rows, "mean reward in training", [("reward/mean", "", BLUE)])
    _held_out(panels[1], rows)
    _curves(panels[2], rows, "entropy (nats a token)", [("entropy", "", BLUE)])
    _curves(panels[3], rows, "length of responses (tokens)", [("length/mean", "", BLUE)])
    _curves(panels[4], rows, "responses cut off at the limit (share)", [("length/truncated", "", BLUE)], top=SMALL)
    clips = [("clip/high", "ratio above 1", ORANGE), ("clip/low", "ratio below 1", BLUE)]
    _curves(panels[5], rows, "tokens cut by the clip (share)", clips, top=SMALL)
    _curves(panels[6], rows, "gradient norm before clipping", [("grad_norm", "", BLUE)])
    _curves(panels[7], rows, "mismatch of engine and learner, largest (nats)", [("mismatch/max", "", BLUE)])
    _curves(panels[8], rows, "seconds a step", [("seconds/step", "", BLUE)])


def _episodes(panels: Sequence[Axes], rows: Rows) -> None:
    _curves(panels[0], rows, "turns of an episode", [("turns/mean", "mean", BLUE), ("turns/max", "most", ORANGE)], top=1)
    _curves(panels[1], rows, "tool calls of an episode", [("tool/calls", "calls", BLUE), ("tool/errors", "errors", ORANGE)], top=SMALL)
    _curves(panels[2], rows, "episodes that ran out of turns (share)", [("turns/exhausted", "", BLUE)], top=SMALL)


def _mismatch(panels: Sequence[Axes], rows: Rows, parts: Sequence[str]) -> None:
    _stack(panels[0], rows, parts)
    _curves(panels[1], rows, "tokens whose experts differ (share)", [("routing/tokens_differ", "", BLUE)], top=SMALL)
    _curves(panels[2], rows, "staleness (steps)", [("staleness/mean", "mean", BLUE), ("staleness/max", "largest", ORANGE)], top=1)


def _curves(axis: Axes, rows: Rows, title: str, curves: Sequence[Curve], top: float | None = None) -> None:
    """One or several metrics over steps, each with its running mean; the axis goes from 0 to at least `top`, if it is given."""
    step_axis(axis, title)
    drawn: list[float] = []
    for key, label, colour in curves:
        points = [(row["step"], row[key]) for row in rows if row["step"] and row.get(key) is not None]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, alpha=0.35, color=colour, marker="o" if len(points) <= FEW else None)
        means = [sum(near) / len(near) for end in range(1, len(values) + 1) if (near := values[max(0, end - SMOOTH) : end])]
        axis.plot(steps, means, color=colour, linewidth=2, label=label)
        drawn += values
    if not drawn:
        _nothing(axis)
        return
    if top is not None:
        axis.set_ylim(0, max(top, 1.1 * max(drawn)))
    elif min(drawn) > 0 and max(drawn) > WIDE * min(drawn):
        axis.set_yscale("log")
    if len(curves) > 1:
        axis.legend(frameon=False, loc="best")


def _held_out(axis: Axes, rows: Rows) -> None:
    """Correctness on held-out prompts, a curve for each evaluation set."""
    step_axis(axis, "held-out correctness, greedy")
    evaluated = [(row["step"], found) for row in rows if (found := greedy_correctness(row))]
    names = sorted({name for _, found in evaluated for name in found}, key=lambda name: (name != UNNAMED, name))
    colours = (ORANGE, GREEN, PURPLE, BLUE)
    for place, name in enumerate(names):
        points = [(step, found[name]) for step, found in evaluated if name in found]
        axis.plot(*zip(*points, strict=True), "o-", color=colours[place % len(colours)], label=name)
    if not names:
        _nothing(axis)
    if len(names) > 1:
        axis.legend(frameon=False, loc="best")


def _stack(axis: Axes, rows: Rows, parts: Sequence[str]) -> None:
    """The parts of the mismatch, one above the other."""
    split = [row for row in rows if all(row.get(f"split/{part}") is not None for part in parts)]
    step_axis(axis, "mismatch by its causes (nats)")
    colours = (BLUE, ORANGE, GREEN, PURPLE)[: len(parts)]
    values = [[row[f"split/{part}"] for row in split] for part in parts]
    axis.stackplot([row["step"] for row in split], values, labels=parts, colors=colours, alpha=0.7)
    axis.margins(y=0.35)  # for the legend, which a filled area leaves no place
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, loc="upper center", ncols=len(parts), fontsize="small")


def _nothing(axis: Axes) -> None:
    axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes, color="gray")
    axis.set_yticks([])
