"""Expert load as a picture: the tokens of each expert in the newest step, and how uneven each layer was over the steps."""

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cluster.record.expert_log import History
from cluster.record.pictures.page import BLUE, ORANGE, step_axis, title_of, write_page

BRIGHTEST = 3.0  # times the even share; beyond it the colour stays the same
FEW = 30  # steps up to which each is marked


def draw_experts(history: History, path: Path) -> None:
    """Write a PNG of the counts; the run's name and model come from the folder of `path`."""
    write_page(path, title_of(path.parent, int(history[0][-1])), (13, 5.4), partial(_fill, history=history))


def _fill(figure: Figure, history: History) -> None:
    steps, counts = history
    even = counts.mean(2, keepdims=True)
    times = counts / np.maximum(even, 1)
    left, right = figure.subplots(1, 2)
    # White is an even share; starved and flooded experts get different colours.
    map_ = left.imshow(times[-1], aspect="auto", cmap="RdBu_r", vmin=2 - BRIGHTEST, vmax=BRIGHTEST, interpolation="nearest")
    left.set(title=f"tokens of each expert in step {steps[-1]}", xlabel="expert", ylabel="layer with experts")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=9, integer=True, min_n_ticks=1))
    bar = figure.colorbar(map_, ax=left, extend="max", label="times the even share")
    bar.ax.set_ylim(0, BRIGHTEST)
    step_axis(right, "fullest expert (times the even share)")
    worst = times.max(2)
    marker = "." if len(steps) <= FEW else None
    singles = right.plot(steps, worst, color=BLUE, alpha=max(0.15, 1 / worst.shape[1]), linewidth=0.8)
    singles[0].set_label("each layer")
    right.plot(steps, worst.max(1), "--", marker=marker, color=ORANGE, linewidth=2, label="worst layer")
    right.plot(steps, worst.mean(1), "-", marker=marker, color=BLUE, linewidth=2, label="mean of the layers")
    right.margins(y=0.15)
    right.legend(frameon=False, loc="upper left", ncols=3)
