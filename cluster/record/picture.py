"""The run as a picture: reward, held-out accuracy, entropy and the mismatch of engine and learner over steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SMOOTH = 10  # steps of the running mean
PARTS = ("numerics", "routing", "engine", "staleness")  # of the mismatch


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a PNG of the metrics' curves."""
    from matplotlib.figure import Figure  # not pyplot: its backend belongs to the process, which may be a notebook

    parts = [part for part in PARTS if any(row.get(f"split/{part}") is not None for row in rows)]
    width = 3 if parts else 2
    figure = Figure(figsize=(5.5 * width, 7), layout="constrained")
    axes = figure.subplots(2, width)
    _curve(axes[0][0], rows, "reward/mean", "mean reward")
    evaluated = [row for row in rows if row.get("eval/greedy") is not None]
    if evaluated:
        axes[0][0].plot(
            [r["step"] for r in evaluated], [r["eval/greedy"] for r in evaluated], "o--", color="tab:orange", label="held-out, greedy"
        )
        axes[0][0].legend(frameon=False)
    _curve(axes[0][1], rows, "entropy", "entropy (nats a token)")
    _curve(axes[1][0], rows, "mismatch/max", "largest difference of engine and learner log-probs", log=True)
    _curve(axes[1][1], rows, "seconds/step", "seconds a step")
    if parts:
        _stack(axes[0][2], rows, parts)
        _curve(axes[1][2], rows, "routing/tokens_differ", "tokens whose experts differ in some layer")
    figure.savefig(path, dpi=110)


def _curve(axis: Any, rows: Sequence[dict[str, Any]], key: str, title: str, log: bool = False) -> None:
    points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.grid(alpha=0.3)
    if not points:
        return
    steps, values = zip(*points, strict=True)
    axis.plot(steps, values, alpha=0.35, color="tab:blue")
    means = [sum(values[max(0, i - SMOOTH + 1) : i + 1]) / (i - max(0, i - SMOOTH + 1) + 1) for i in range(len(values))]
    axis.plot(steps, means, color="tab:blue", label=f"mean of {SMOOTH} steps")
    if log and min(values) > 0:
        axis.set_yscale("log")


def _stack(axis: Any, rows: Sequence[dict[str, Any]], parts: Sequence[str]) -> None:
    """The parts of the mismatch, one above the other."""
    split = [row for row in rows if all(row.get(f"split/{part}") is not None for part in parts)]
    axis.set_title("mismatch by its causes (nats)")
    axis.set_xlabel("step")
    axis.stackplot([row["step"] for row in split], [[row[f"split/{part}"] for row in split] for part in parts], labels=parts, alpha=0.7)
    axis.legend(frameon=False, loc="upper left")
