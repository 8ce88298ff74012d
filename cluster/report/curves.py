"""Charts over steps: a line for each run, or a line for each metric of one run."""

from collections.abc import Sequence
from typing import Any

from cluster.report.files import Curve, RunFiles
from cluster.report.pack import short
from cluster.report.page import Chart

# Distinct to colour-blind readers: Okabe and Ito. The page's script lightens the darkest in a dark theme.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6BBE", "#7F7F7F")
FEW = 40  # points up to which each is marked


def colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def line(curve: Curve, name: str, shade: str, **more: Any) -> dict[str, Any]:
    """A trace of Plotly."""
    steps, values = curve
    mode = "lines+markers" if len(steps) <= FEW else "lines"
    return {
        "type": "scatter",
        "mode": mode,
        "x": steps,
        "y": [short(value) for value in values],
        "name": name,
        "line": {"color": shade, "width": 2},
        "marker": {"size": 5},
        **more,
    }


def lines(runs: Sequence[RunFiles], page: str, key: str, title: str, how: str, **layout: Any) -> Chart | None:
    """A metric, a line for each run; None where no run has it."""
    found = [(place, run, curve) for place, run in enumerate(runs) if (curve := run.curve(key))[0]]
    traces = [line(curve, run.name, colour(place)) for place, run, curve in found]
    name = f"{page}-{key.replace('/', '-')}"
    return Chart(id=name, title=title, how=how, figure={"data": traces, "layout": layout}) if traces else None
