"""The run as a picture: reward, held-out accuracy, entropy and the engine-learner gap over steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SMOOTH = 10  # steps of the running mean


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a PNG of the metrics' curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), layout="constrained")
    _curve(axes[0][0], rows, "reward/mean", "mean reward")
    evaluated = [row for row in rows if row.get("eval/greedy") is not None]
    if evaluated:
        axes[0][0].plot(
            [r["step"] for r in evaluated], [r["eval/greedy"] for r in evaluated], "o--", color="tab:orange", label="held-out, greedy"
        )
        axes[0][0].legend(frameon=False)
    _curve(axes[0][1], rows, "entropy", "entropy (nats a token)")
    _curve(axes[1][0], rows, "mismatch/max", "largest engine-learner log-prob gap", log=True)
    _curve(axes[1][1], rows, "seconds/step", "seconds a step")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


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
