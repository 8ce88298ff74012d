"""The page of a picture: its figure, title, colours and axes. It uses no pyplot, whose global state belongs to the user's notebook."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # distinct to colour-blind readers: Okabe and Ito
LONGEST_NAME = 48  # characters of a model's path in a title
SIZES: Any = {"font.size": 11, "axes.titlesize": 12, "figure.titlesize": 14, "axes.spines.top": False, "axes.spines.right": False}


def write_page(path: Path, title: str, size: tuple[float, float], fill: Callable[[Figure], None]) -> None:
    """Write a PNG whose figure `fill` draws; a reader of `path` never sees half a file."""
    aside = path.with_suffix(".tmp")
    with matplotlib.rc_context(SIZES):
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)
        figure.suptitle(title, parse_math=False)  # a name may have dollar signs
        figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        fill(figure)
        figure.savefig(aside, dpi=110, format="png")
    aside.replace(path)


def step_axis(axis: Axes, title: str) -> None:
    """A panel over steps: its title, a grid, and ticks at whole steps."""
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.grid(alpha=0.3)


def title_of(folder: Path, steps: int) -> str:
    """The run's name, its model and how far it is, from the run directory."""
    parts = [folder.name]
    kept = folder / "config.toml"
    if kept.exists():
        config: dict[str, Any] = tomllib.loads(kept.read_text(encoding="utf-8"))
        model = str(config["model"]["path"])
        parts.append(model if len(model) <= LONGEST_NAME else f"…{model[-LONGEST_NAME:]}")
        parts.append(f"step {steps} of {config['run']['steps']}")
    return "  ·  ".join(parts)
