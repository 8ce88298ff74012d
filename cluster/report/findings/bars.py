"""A stretch of a timeline as two pictures: the lanes of everybody, and how each lane spent the time."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cluster.record.metrics.timeline.lanes import Stretch, by_lane, ends_of, rows, shares
from cluster.record.metrics.timeline.spans import Span
from cluster.report.page import Figure

Lanes = Mapping[str, Sequence[Span]]

KINDS = {  # colour and words of each kind of span, in the order of the legend
    "generate": ("#0072B2", "generate"),
    "evaluate": ("#56B4E9", "evaluate"),
    "answer": ("#E69F00", "wait for an environment or a tool"),
    "score": ("#8A6BBE", "wait for the last verdict"),
    "learn": ("#009E73", "learn"),
    "publish": ("#D55E00", "publish"),
    "save": ("#CC79A7", "record and save"),
    "turn": ("#7F7F7F", "hand over the GPU"),
    "wait": ("#C9CED6", "wait for groups"),
}
OTHER = ("#555555", "other")
MOST_LANES = 48
MOST_BARS = 2_500  # of a stretch; the longest are drawn
LANE, ROW, ROWS, GAP = 18, 5, 14, 6  # pixels: a lane of one row, a row of several; rows that get a height of their own; between lanes
FRAME = 110  # pixels for the axis and a legend of two lines
LEAST_S = 0.0001  # a shorter bar cannot be seen


def shown_lanes(stretch: Stretch) -> Lanes:
    """The lanes that a page has room for."""
    lanes = by_lane(stretch.spans)
    return {lane: lanes[lane] for lane in list(lanes)[:MOST_LANES]}


def lane_figure(stretch: Stretch, lanes: Lanes) -> tuple[Figure, int]:
    """A bar for each span, and the height of the picture in pixels."""
    bars: dict[str, list[tuple[Span, float, float]]] = {}
    places, at = {}, 0.0
    for lane, spans in lanes.items():
        split = rows(spans)
        height = max(LANE, ROW * min(len(split), ROWS))
        for number, row in enumerate(split):
            for span in row:
                bars.setdefault(span.kind, []).append((span, at + (number + 0.5) * height / len(split), 0.9 * height / len(split)))
        places[lane] = at + height / 2
        at += height + GAP
    seen = longest(bars)
    traces = [trace(kind, seen[kind]) for kind in (*KINDS, *sorted(set(seen) - set(KINDS))) if kind in seen]
    edges = [
        {"type": "line", "x0": start, "x1": start, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": "#888", "width": 1, "dash": "dot"}}
        for start in stretch.starts[1:]
    ]
    layout: dict[str, Any] = {
        "barmode": "overlay", "hovermode": "closest", "shapes": edges, "legend": legend(at),
        "xaxis": {"ticksuffix": " s", "range": [0, stretch.length]},
        "yaxis": {"tickvals": list(places.values()), "ticktext": [escape(lane) for lane in places], "range": [at, -GAP], "showgrid": False,
                  "zeroline": False, "tickfont": {"size": 11}},
    }  # fmt: skip
    return {"data": traces, "layout": layout}, round(at) + FRAME


def legend(height: float) -> dict[str, Any]:
    """Below the axis, whatever the height of the picture."""
    return {"orientation": "h", "y": -30 / max(height, 1), "yanchor": "top", "x": 0, "traceorder": "normal", "font": {"size": 11}}


def trace(kind: str, bars: Sequence[tuple[Span, float, float]]) -> dict[str, Any]:
    """The bars of one kind."""
    colour, words = KINDS.get(kind, OTHER)
    return {
        "type": "bar", "orientation": "h", "name": words if kind in KINDS else escape(kind),
        "marker": {"color": colour, "line": {"width": 0}},
        "base": [round(span.start, 4) for span, *_ in bars], "x": [round(ends_of(span) - span.start, 4) for span, *_ in bars],
        "y": [round(place, 2) for _, place, _ in bars], "width": [round(height, 2) for *_, height in bars],
        "customdata": [[escape(span.name), round(span.start, 3), round(ends_of(span) - span.start, 3)] for span, *_ in bars],
        "hovertemplate": "%{customdata[0]}<br>%{customdata[2]} s, from %{customdata[1]} s<extra>%{fullData.name}</extra>",
    }  # fmt: skip


def longest(bars: Mapping[str, list[tuple[Span, float, float]]]) -> dict[str, list[tuple[Span, float, float]]]:
    """The bars that are long enough to be seen, and not too many of them."""
    lengths = sorted((ends_of(span) - span.start for found in bars.values() for span, *_ in found), reverse=True)
    least = max(lengths[MOST_BARS] if len(lengths) > MOST_BARS else 0.0, LEAST_S)
    kept = {kind: [bar for bar in found if ends_of(bar[0]) - bar[0].start >= least] for kind, found in bars.items()}
    return {kind: found for kind, found in kept.items() if found}


def busy_figure(stretch: Stretch, lanes: Lanes) -> tuple[Figure, int]:
    """How each lane spent the time, by kind, and the height of the picture in pixels."""
    spent = {lane: shares(lane, spans, stretch.length) for lane, spans in lanes.items()}
    names = [escape(lane) for lane in spent]
    kinds = {kind for of_lane in spent.values() for kind in of_lane}
    traces = [
        {
            "type": "bar", "orientation": "h", "name": KINDS[kind][1] if kind in KINDS else escape(kind), "y": names,
            "x": [round(of_lane.get(kind, 0.0), 4) for of_lane in spent.values()], "marker": {"color": KINDS.get(kind, OTHER)[0]},
            "hovertemplate": "%{y}: %{x:.1%}<extra>%{fullData.name}</extra>",
        }
        for kind in (*KINDS, *sorted(kinds - set(KINDS))) if kind in kinds
    ]  # fmt: skip
    totals = [
        {
            "x": 1.01,
            "y": name,
            "xanchor": "left",
            "text": f"{min(sum(of_lane.values()), 1.0):.0%}",
            "showarrow": False,
            "font": {"size": 11},
        }
        for name, of_lane in zip(names, spent.values(), strict=True)
    ]
    height = (LANE + GAP) * len(names)
    layout: dict[str, Any] = {
        "barmode": "stack", "hovermode": "closest", "annotations": totals, "bargap": 0.25, "legend": legend(height),
        "xaxis": {"range": [0, 1.12], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%"},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False, "tickfont": {"size": 11}},
    }  # fmt: skip
    return {"data": traces, "layout": layout}, height + FRAME
