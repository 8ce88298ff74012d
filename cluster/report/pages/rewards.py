"""Rewards: what they consist of, what had none and why, where two checkers disagree, and which were slow."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain
from typing import Any

from cluster.report.curves import axis, colour, from_keys, identifier, idle_at_zero, line, per_run, stacked
from cluster.report.files import RunFiles
from cluster.report.lines import number, read_rows, read_steps
from cluster.report.page import Chart, Page, cards
from cluster.report.tables import table

NAME = "rewards"
PART = "reward/part/"
SOURCE, SOURCE_REWARD = "source/", "/reward"
FAILED = {"reward/timed_out": "timed out", "reward/crashed": "crashed", "reward/unscorable": "unscorable"}
SHARE = {"rangemode": "tozero", "tickformat": ".1~%"}
READ = 200  # files of responses that are read for tables, spread over the run
SHOWN = 30  # rows of a table
CUT = 240  # characters of a text in a table


def rewards(runs: Sequence[RunFiles]) -> Page:
    """Curves of all runs, then tables of each."""
    charts = [chart for chart in chain(curves(runs), (chart for place, run in enumerate(runs) for chart in own(run, place, runs))) if chart]
    parts = [cards(charts) if charts else '<p class="quiet">No step with a reward is on record yet.</p>']
    for run in runs:
        tables = "".join(tables_of(run))
        parts.append(f'<h2 dir="auto">{escape(run.name)}</h2>{tables}' if len(runs) > 1 and tables else tables)
    return Page(name=NAME, title="Rewards", html="".join(parts), charts=charts)


def curves(runs: Sequence[RunFiles]) -> Iterator[Chart | None]:
    """What all runs can show in one chart."""
    both = "The reward that is learned, and the checker's own number before weights and punishments. Healthy: both rise together."
    yield from_keys(runs, NAME, {"reward/mean": "reward", "reward/correct": "correctness"}, "Reward and correctness", both)
    parts = {key: key.removeprefix(PART) for key in sorted({key for run in runs for key in run.keys if key.startswith(PART)})}
    how = "The mean of each further part before its weight. A part that rises while correctness does not is learned instead of the task."
    yield from_keys(runs, NAME, parts, "Parts of the reward", how) if parts else None
    named = sorted({key for run in runs for key in run.keys if key.startswith(SOURCE) and key.endswith(SOURCE_REWARD)})
    sources = {key: key.removeprefix(SOURCE).removesuffix(SOURCE_REWARD) for key in named}
    yield from_keys(runs, NAME, sources, "Reward by source", "Mean reward of each source of prompts.") if sources else None
    differ = "Responses on which the two checkers differ by half a point or more. Healthy: low and flat; a rise is a checker that is gamed."
    yield idle_at_zero(per_run(runs, NAME, "reward/disagreement", "Disagreement with the second checker", differ, axis("share", **SHARE)))
    slow = "From the last response of a group to its last verdict. Healthy: small against the seconds of a step."
    yield per_run(runs, NAME, "seconds/score", "Time to score a group", slow, axis("s", rangemode="tozero"))
    thoughts = "Responses that end within a thought, which have no answer and score 0. Healthy: none, or falling."
    key = "reward/unfinished_thoughts"
    yield idle_at_zero(per_run(runs, NAME, key, "Unfinished thoughts", thoughts, axis("responses", rangemode="tozero")))


def own(run: RunFiles, place: int, runs: Sequence[RunFiles]) -> Iterator[Chart | None]:
    """What only one run can show in a chart."""
    of = f": {run.name}" if len(runs) > 1 else ""
    yield spread(run, place, of)
    how = "Responses of a step without a reward, by cause; they are in no loss. Healthy: none."
    title = f"Responses without a reward{of}"
    yield idle_at_zero(stacked(run, f"{NAME}-{place}", FAILED, title, how, axis("responses", rangemode="tozero")))


def spread(run: RunFiles, place: int, of: str) -> Chart | None:
    """Mean, standard deviation and range of the rewards of each step."""
    keys = ("reward/mean", "reward/std", "reward/min", "reward/max")
    rows = [(row["step"], *(number(row.get(key)) for key in keys)) for row in run.metrics]
    known = [(step, mean, std, low, high) for step, mean, std, low, high in rows if None not in (mean, std, low, high)]
    if not known:
        return None
    steps = [step for step, *_ in known]
    shade = colour(place)

    def edge(values: Sequence[Any], name: str, **more: Any) -> dict[str, Any]:
        return line((steps, list(values)), name, shade, mode="lines", line={"color": shade, "width": 0}, **more)

    upper = [min(mean + std, high) for _, mean, std, _, high in known]
    lower = [max(mean - std, low) for _, mean, std, low, _ in known]
    traces = [
        edge(upper, "mean + std", showlegend=False),
        edge(lower, "mean ± std", fill="tonexty", opacity=0.3),
        line((steps, [mean for _, mean, *_ in known]), "mean", shade),
        line((steps, [high for *_, high in known]), "best", "#7F7F7F", line={"color": "#7F7F7F", "width": 1, "dash": "dot"}, mode="lines"),
        line(
            (steps, [low for *_, low, _ in known]), "worst", "#7F7F7F", line={"color": "#7F7F7F", "width": 1, "dash": "dot"}, mode="lines"
        ),
    ]
    how = "Mean, standard deviation and range of a step's rewards. Healthy: a band; where it closes, all responses are alike."
    return Chart(
        id=identifier(NAME, str(place), "spread"), title=f"Spread of the rewards{of}", how=how, figure={"data": traces, "layout": {}}
    )


def tables_of(run: RunFiles) -> Iterator[str]:
    """Checkers, failures, disagreements, quarantine and slow scoring, as far as the run has them."""
    rows = sampled(run, "responses")
    yield from checkers(rows)
    yield from failures(rows)
    yield from disagreements(run)
    yield from quarantine(run)
    yield from slowest(run)


def sampled(run: RunFiles, folder: str) -> list[dict[str, Any]]:
    """The rows of a folder of texts, each with its step; of a long run those of some steps, the newest among them."""
    files = run.texts(folder)
    every = -(-len(files) // READ) or 1
    return [{"step": step, **row} for step, path in files[::-1][::every] for row in read_rows(path)]


def checkers(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A row for each checker that scored a kept response."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(str(row.get("checker") or "unnamed"), []).append(row)
    if not by_name:
        return
    yield "<h2>Checkers</h2><p class='quiet'>Of the responses that were kept as text.</p>"
    lines = []
    for name, of in sorted(by_name.items()):
        scored = [value for row in of if (value := number(row.get("reward"))) is not None]
        right = [value for row in of if isinstance(row.get("parts"), dict) and (value := number(row["parts"].get("correct"))) is not None]
        outcomes = Counter(str(row.get("outcome")) for row in of)
        said = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
        lines.append([name, len(of), sum(scored) / len(scored) if scored else None, sum(right) / len(right) if right else None, said])
    yield table(["checker", "responses", "mean reward", "mean correctness", "outcomes"], lines)


def failures(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The most frequent reasons for which a kept response has no reward."""
    texts = Counter(str(row["failure"])[:CUT] for row in rows if row.get("failure"))
    if texts:
        yield "<h2>Why responses have no reward</h2>"
        yield table(["reason", "responses"], [[reason, count] for reason, count in texts.most_common(SHOWN)])


def disagreements(run: RunFiles) -> Iterator[str]:
    """The newest responses on which two checkers disagree."""
    rows = [{"step": step, **row} for step, path in run.texts("disagreements")[-SHOWN:] for row in read_rows(path)]
    if not rows:
        return
    yield "<h2>Disagreements</h2><p class='quiet'>The newest ones. Read some: one of the two checkers is wrong, or the reference is.</p>"
    lines = []
    for row in rows[::-1][:SHOWN]:
        found = row.get("parts")
        parts = found if isinstance(found, dict) else {}
        lines.append(
            [row["step"], text(row, "question"), text(row, "response"), text(row, "reference"), parts.get("correct"), parts.get("second")]
        )
    yield table(["step", "prompt", "response", "reference", "checker", "second"], lines)


def quarantine(run: RunFiles) -> Iterator[str]:
    """Items that killed their workers."""
    rows = [row for path in sorted((run.folder / "quarantine").glob("*.jsonl")) for row in read_rows(path)]
    if rows:
        yield "<h2>Quarantine</h2><p class='quiet'>Items that killed two workers; they are scored no more.</p>"
        names = list(dict.fromkeys(key for row in rows for key in row))[:6]
        yield table(names, [[text(row, name) for name in names] for row in rows[::-1][:SHOWN]])


def slowest(run: RunFiles) -> Iterator[str]:
    """The longest times of scoring that the timeline recorded."""
    kept = [(row["step"], row["spans"]) for row in read_steps(run.timeline) if isinstance(row.get("spans"), list)]
    spans = [
        (seconds, step, str(span.get("lane", "")), str(span.get("name", "")))
        for step, found in kept
        for span in found
        if isinstance(span, dict) and span.get("kind") == "score" and (seconds := length(span)) is not None
    ]
    if spans:
        yield "<h2>Slowest to score</h2><p class='quiet'>Of the steps that the timeline recorded.</p>"
        rows = [[step, lane, name, seconds] for seconds, step, lane, name in sorted(spans, reverse=True)[:SHOWN]]
        yield table(["step", "where", "what", "seconds"], rows)


def length(span: dict[str, Any]) -> float | None:
    start, end = number(span.get("start")), number(span.get("end"))
    return None if start is None or end is None else end - start


def text(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    return None if value is None else str(value)[:CUT]
