"""Expert load as a picture: the tokens of each expert in the newest step, and how uneven each layer was over the steps."""

from pathlib import Path

import numpy as np

from cluster.record.expert_log import History

BRIGHTEST = 3.0  # times the even share; beyond it the colour stays the same


def draw_experts(history: History, path: Path) -> None:
    """Write a PNG of the counts."""
    from matplotlib.figure import Figure  # not pyplot: its backend belongs to the process, which may be a notebook

    steps, counts = history
    even = counts.mean(2, keepdims=True)
    times = counts / np.maximum(even, 1)
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    # White is an even share; starved and flooded experts get different colours.
    map_ = left.imshow(times[-1], aspect="auto", cmap="RdBu_r", vmin=2 - BRIGHTEST, vmax=BRIGHTEST, interpolation="nearest")
    left.set(title=f"tokens of each expert over its even share, step {steps[-1]}", xlabel="expert", ylabel="layer with experts")
    figure.colorbar(map_, ax=left, extend="max").ax.set_ylim(0, BRIGHTEST)
    worst = times.max(2)
    right.plot(steps, worst, color="tab:blue", alpha=max(0.15, 1 / worst.shape[1]), linewidth=0.8)
    right.plot(steps, worst.mean(1), ".-", color="tab:blue", label="mean of the layers")
    right.plot(steps, worst.max(1), ".--", color="tab:orange", label="worst layer")
    right.set(title="fullest expert over the even share", xlabel="step")
    right.grid(alpha=0.3)
    right.legend(frameon=False)
    figure.savefig(path, dpi=110)
