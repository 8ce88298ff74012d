"""Where the time goes: what bounds the step and how to move it, the lanes of everybody over a few steps, and seconds by stage."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from cluster.record.metrics.timeline.lanes import Stretch, read_timeline, stretches
from cluster.report.curves import axis, stacked
from cluster.report.files import RunFiles
from cluster.report.findings.bars import MOST_LANES, busy_figure, lane_figure, shown_lanes
from cluster.report.findings.bound import bound, of_the_rules
from cluster.report.page import Chart, Page, asset, cards
from cluster.report.pages.overview import STAGES
from cluster.report.tables import note

NAME = "time"
MOST_STRETCHES = 12  # on the page, of all runs; the newest, and others spread over the run
PARTS = {
    "seconds/learn_fetch": "fetch responses",
    "seconds/learn_old": "old log-probs",
    "seconds/learn_split": "mismatch split",
    "seconds/learn_update": "updates",
}
WINDOW = {
    "window/generating": "generating",
    "window/answering": "waiting for an environment or a tool",
    "window/scoring": "scoring",
    "window/finished": "finished, not taken",
    "window/waiting": "taken, not published",
    "window/free": "free",
}
LANES = (
    "What the driver, each engine, the reward workers and each rank did. Where bars of engines stand above bars of ranks, generation and "
    "learning overlap; an empty lane has nothing to do."
)
BUSY = (
    "How each lane spent these steps; the number is all of it. An engine is busy while it has a group to generate. Healthy: engines or "
    "ranks near 100%; where both are far from it, they wait for each other."
)


def time(runs: Sequence[RunFiles]) -> Page:
    """Each run in turn."""
    charts: list[Chart] = []
    parts: list[str] = []
    data: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for place, run in enumerate(runs):
        if len(runs) > 1:
            parts.append(f'<h2 dir="auto">{escape(run.name)}</h2>')
        parts += what_bounds(run)
        shown = chosen(stretches(read_timeline(run.folder)), max(2, MOST_STRETCHES // len(runs)))
        if shown:
            first = max(range(len(shown)), key=lambda number: (len(shown[number].steps) > 1, number))  # a pair shows what overlaps
            own = pictures(shown[first], place)
            names = [{"key": f"{place}-{number}", "name": stretch.name} for number, stretch in enumerate(shown)]
            data[own[0].id] = {"first": first, "stretches": names}
            more |= {f"{place}-{number}": of_script(stretch, place) for number, stretch in enumerate(shown)}
            parts += [cards(own), *left_out(shown)]
            charts += own
        else:
            parts.append(note(nothing_recorded(run)))
        curves = [chart for chart in seconds(run, place) if chart is not None]
        parts.append(cards(curves))
        charts += curves
    return Page(name=NAME, title="Time", html="".join(parts), charts=charts, data=data, more=more, script=asset("time.js"))


def what_bounds(run: RunFiles) -> Iterator[str]:
    """The sentence, then what to do: in the words of the health rules where one of them holds."""
    found = bound(run)
    if found is None:
        yield "<p>No step is on record yet.</p>"
        return
    yield f'<p class="bound"><b>{escape(found.seen)}</b></p>'
    rules = of_the_rules(run)
    for one in rules:
        yield f'<p dir="auto">{escape(one.seen)} ({escape(one.when)}).</p><p dir="auto"><b>Do:</b> {escape(one.advice)}</p>'
    if found.advice and not rules:
        yield f'<p dir="auto"><b>To move it:</b> {escape(found.advice)}.</p>'


def chosen(found: Sequence[Stretch], count: int) -> list[Stretch]:
    """The newest stretch, and others spread evenly over the run."""
    if len(found) <= count:
        return list(found)
    return [found[round(place * (len(found) - 1) / (count - 1))] for place in range(count)]


def pictures(stretch: Stretch, place: int) -> list[Chart]:
    """The lanes, and how busy each was."""
    lanes = shown_lanes(stretch)
    figure, height = lane_figure(stretch, lanes)
    share, low = busy_figure(stretch, lanes)
    return [
        Chart(id=f"{NAME}-{place}-lanes", title=f"Lanes, {stretch.name}", how=LANES, figure=figure, wide=True, height=height),
        Chart(id=f"{NAME}-{place}-busy", title=f"Busy share, {stretch.name}", how=BUSY, figure=share, wide=True, height=low),
    ]


def of_script(stretch: Stretch, place: int) -> list[dict[str, Any]]:
    """The same pictures for the page's script."""
    return [{"id": one.id, "title": one.title, "height": one.height, "figure": one.figure} for one in pictures(stretch, place)]


def left_out(shown: Sequence[Stretch]) -> Iterator[str]:
    """What the pictures lack."""
    lanes = max(len({span.lane for span in stretch.spans}) for stretch in shown)
    if lanes > MOST_LANES:
        yield note(f"The first {MOST_LANES} of {lanes} lanes are drawn; gatewise trace writes all of them.")
    if spans := sum(stretch.left_out for stretch in shown):
        yield note(f"{spans:,} short spans of these steps were not recorded.")


def nothing_recorded(run: RunFiles) -> str:
    every = run.key("run.timeline_every")
    if every == 0:
        return f"{run.name} records no lanes: run.timeline_every is 0."
    if every is None:
        return f"{run.name} has no timeline.jsonl: an older version wrote it, so lanes are not known. Seconds by stage stand below."
    return f"{run.name} has no recorded step in timeline.jsonl yet."


def seconds(run: RunFiles, place: int) -> Iterator[Chart | None]:
    """Seconds by stage, those within learning, and the window of groups, over all steps."""
    page, zero = f"{NAME}-{place}", {"rangemode": "tozero"}
    how = "Seconds of a step by stage, one upon the other. The largest area is what bounds the run. Healthy: no stage grows."
    yield stacked(run, page, STAGES, "Seconds by stage", how, axis("s", **zero))
    parts = "Seconds within learning, of rank 0. Healthy: most are updates. Old log-probs need a pass only with several updates a step."
    yield stacked(run, page, PARTS, "Seconds within learning", parts, axis("s", **zero))
    window = "Groups in flight by what they wait for. Finished groups wait for the ranks; with few of them the ranks wait for engines."
    yield stacked(run, page, WINDOW, "Window of groups", window, axis("groups", **zero))
