"""The first page: is the run well, and how far is it."""

from collections.abc import Sequence

from cluster.report.curves import lines
from cluster.report.files import RunFiles
from cluster.report.page import Page, cards


def overview(runs: Sequence[RunFiles]) -> Page:
    """Health, facts and the curves that matter most."""
    charts = [lines(runs, "overview", "reward/mean", "Reward", "Mean reward of a step's responses; a healthy run rises.")]
    shown = [chart for chart in charts if chart is not None]
    return Page(name="overview", title="Overview", html=cards(shown), charts=shown)
