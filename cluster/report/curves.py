"""Charts over steps: a line for each run, or a line for each metric of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cluster.report.files import Curve, RunFiles
from cluster.report.pack import short
from cluster.report.page import Chart

# Distinct to colour-blind readers: Okabe and Ito. The page's script lightens the darkest ones in a dark theme.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6BBE", "#7F7F7F")
STROKES = ("solid", "dash", "dot", "dashdot")
FEW = 40  # points up to which each is marked
LONG = 120  # points from which a line of means is drawn over the single steps
PERIODS = 40  # means over the length of a long curve


def colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def line(curve: Curve, name: str, shade: str, **more: Any) -> dict[str, Any]:
    """A trace of Plotly. `more` replaces its settings."""
    steps, values = curve
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(steps) <= FEW else "lines",
        "x": steps,
        "y": [short(value) for value in values],
        "name": name,
        "line": {"color": shade, "width": 2},
        "marker": {"size": 5},
        **more,
    }


def smooth(curve: Curve, name: str, shade: str, **more: Any) -> list[dict[str, Any]]:
    """The line of a curve; of a long one the single steps thinly, with the means of their neighbours over them."""
    steps, values = curve
    if len(steps) < LONG:
        return [line(curve, name, shade, **more)]
    thin = line(curve, name, shade, **{**more, "opacity": 0.35, "line": {"color": shade, "width": 1}, "legendgroup": name})
    means = moving_mean(values, max(2, len(values) // PERIODS))
    thick = line((steps, means), name, shade, **{**more, "legendgroup": name, "showlegend": False, "hoverinfo": "skip"})
    return [thin, thick]


def moving_mean(values: Sequence[float], reach: int) -> list[float]:
    """The mean of each value and of its neighbours up to half of `reach` away."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    ends = [(max(0, place - reach // 2), min(len(values), place + reach // 2 + 1)) for place in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]


def per_run(runs: Sequence[RunFiles], page: str, key: str, title: str, how: str, layout: Mapping[str, Any] | None = None) -> Chart | None:
    """A metric, a line for each run; None where no run has it."""
    return from_keys(runs, page, {key: ""}, title, how, layout)


def from_keys(
    runs: Sequence[RunFiles], page: str, keys: Mapping[str, str], title: str, how: str, layout: Mapping[str, Any] | None = None
) -> Chart | None:
    """Metrics with their names in the legend, a line for each run and metric; None where no run has any of them.

    Of one run the metrics differ by colour; of several runs the runs do, and the metrics by stroke.
    """
    several, traces = len(runs) > 1, []
    for place, run in enumerate(runs):
        for number, (key, label) in enumerate(keys.items()):
            curve = run.curve(key)
            if not curve[0]:
                continue
            name = " ".join(filter(None, (run.name if several else "", label))) or title
            shade = colour(place if several else number)
            stroke = STROKES[number % len(STROKES)] if several else "solid"
            if len(keys) == 1:
                traces += smooth(curve, name, shade)
            else:
                traces.append(line(curve, name, shade, line={"color": shade, "width": 2, "dash": stroke}))
    if not traces:
        return None
    shown = {"showlegend": several or len(keys) > 1, **(layout or {})}
    return Chart(id=identifier(page, next(iter(keys))), title=title, how=how, figure={"data": traces, "layout": shown})


def stacked(
    run: RunFiles, page: str, keys: Mapping[str, str], title: str, how: str, layout: Mapping[str, Any] | None = None
) -> Chart | None:
    """Metrics of one run that add up, one upon the other; None where the run has none of them."""
    curves = {label: run.curve(key) for key, label in keys.items()}
    traces = [
        line(curve, label, colour(place), mode="lines", stackgroup="all", line={"color": colour(place), "width": 0.5})
        for place, (label, curve) in enumerate(curves.items())
        if curve[0]
    ]
    if not traces:
        return None
    return Chart(id=identifier(page, next(iter(keys))), title=title, how=how, figure={"data": traces, "layout": {**(layout or {})}})


def idle_at_zero(chart: Chart | None) -> Chart | None:
    """The chart, marked as idle where every value is 0."""
    if chart is None or any(value for trace in chart.figure["data"] for value in trace["y"]):
        return chart
    return replace(chart, idle=True)


def identifier(page: str, *parts: str) -> str:
    """The id of a chart's element. Names of runs and parts may hold anything, and an id has letters, digits and dashes."""
    return "-".join([page, *("".join(sign if sign.isascii() and sign.isalnum() else f"_{ord(sign):x}" for sign in part) for part in parts)])


def axis(title: str, **more: Any) -> dict[str, Any]:
    """The vertical axis of a chart."""
    return {"yaxis": {"title": {"text": title}, **more}}
