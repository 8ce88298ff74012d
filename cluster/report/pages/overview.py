"""The first page: is the run well, what is it, and the curves that matter most."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain
from typing import Any

from cluster.record.metrics.held_out import FIRST, LAST, UNNAMED
from cluster.report.curves import axis, from_keys, idle_at_zero, per_run, stacked
from cluster.report.files import RunFiles
from cluster.report.findings.facts import facts
from cluster.report.findings.periods import Complaint, complaints
from cluster.report.page import Chart, Page, cards
from cluster.report.tables import note, table

NAME = "overview"
SHARE = {"rangemode": "tozero", "tickformat": ".3~%"}
STAGES = {
    "seconds/generate": "generate",
    "seconds/learn": "learn",
    "seconds/publish": "publish",
    "seconds/evaluate": "evaluate",
    "seconds/save": "save",
}


def overview(runs: Sequence[RunFiles]) -> Page:
    """Health, curves and facts."""
    charts = [chart for chart in chain(learning(runs), stability(runs), speed(runs)) if chart is not None]
    parts = [*(missing(run) for run in runs), "<h2>Health</h2>", *(health(run, len(runs) > 1) for run in runs)]
    parts += ["<h2>Curves</h2>", cards(charts) if charts else "<p>No step is on record yet.</p>", "<h2>Facts</h2>", fact_table(runs)]
    return Page(name=NAME, title="Overview", html="".join(parts), charts=charts)


def missing(run: RunFiles) -> str:
    """What the run lacks, and what is therefore not shown."""
    lacking = run.missing
    if not lacking:
        return ""
    why = "it has not come so far" if run.state == "at work" else "it is of an older version, has ended early, or was copied in part"
    return note(f"{run.name} has no {', '.join(lacking)}: {why}. What these files say is not shown.")


def health(run: RunFiles, named: bool) -> str:
    """What the rules say of one run: what was seen, and what to do."""
    found = complaints(run)
    head = f'<h3 dir="auto">{escape(run.name)}</h3>' if named else ""
    if not found:
        said = '<b class="good">Healthy</b>: no rule found anything' if run.step else "<b>Unknown</b>: no step is on record yet"
        return f'{head}<p class="well">{said}.</p>'
    return f'{head}<div class="complaints">{"".join(complaint(one) for one in found)}</div>'


def complaint(one: Complaint) -> str:
    kind = "complaint" if one.last is None else "complaint over"
    advice = f'<p dir="auto"><b>Do:</b> {escape(one.advice)}</p>' if one.advice else ""
    return (
        f'<div class="{kind}"><p><b>{escape(one.rule.replace("_", " "))}</b> <span class="quiet">{escape(one.when)}</span></p>'
        f'<p dir="auto">{escape(one.seen)}</p>{advice}</div>'
    )


def fact_table(runs: Sequence[RunFiles]) -> str:
    """A column for each run."""
    columns = [dict(facts(run)) for run in runs]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(["", *(run.name for run in runs)], rows, kind="facts")


def learning(runs: Sequence[RunFiles]) -> Iterator[Chart | None]:
    """Whether the policy gets better."""
    reward = "Mean reward of the responses of each step. Healthy: it rises, then flattens near the best that the task allows."
    yield with_complaints(runs, per_run(runs, NAME, "reward/mean", "Reward", reward))
    sets = sorted({key for run in runs for key in run.keys if key.startswith(FIRST) and key.rpartition("/")[2] == LAST}, key=len)
    names = {key: key[len(FIRST) : -len(LAST)].rstrip("/") or UNNAMED for key in sets}
    held_out = (
        "Correctness of greedy responses to prompts that are not trained. Healthy: it follows the reward; if it falls, the run memorises."
    )
    yield from_keys(runs, NAME, names, "Held-out correctness", held_out) if names else None
    length = "Generated tokens of a response. Healthy: it changes slowly; it grows only together with the reward."
    yield from_keys(runs, NAME, {"length/mean": "mean", "length/max": "longest"}, "Length", length, axis("tokens", rangemode="tozero"))
    cut = "Responses that the token limit cut off. Healthy: low and falling; if it rises, raise the limit or look at the responses."
    yield idle_at_zero(per_run(runs, NAME, "length/truncated", "Cut off", cut, axis("share", **SHARE)))
    signal = "Groups whose responses all have one reward teach nothing. Healthy: below a half; near 100% the prompts are too easy or hard."
    yield per_run(runs, NAME, "groups/no_signal", "Groups without signal", signal, axis("share", **SHARE))


def stability(runs: Sequence[RunFiles]) -> Iterator[Chart | None]:
    """Whether updates stay small and data stay fresh."""
    entropy = "How undecided the policy is at a token. Healthy: it falls slowly and stays above 0; a plunge to 0 ends exploration."
    yield per_run(runs, NAME, "entropy", "Entropy", entropy, axis("nats a token", rangemode="tozero"))
    gap = "How far engine and learner differ on the same tokens. Healthy: flat and small; a jump means wrong weights or stale data."
    yield per_run(runs, NAME, "mismatch/kl", "Mismatch", gap, axis("nats a token", exponentformat="power", showexponent="all"))
    stale = "Steps between the weights that sampled a token and the step that learns it. It never exceeds run.max_staleness."
    ages = {"staleness/mean": "mean", "staleness/max": "largest"}
    yield idle_at_zero(from_keys(runs, NAME, ages, "Staleness", stale, axis("steps", rangemode="tozero")))
    norm = "Length of the gradient before clipping. Healthy: no spikes; gaps are updates that were dropped."
    yield per_run(runs, NAME, "grad_norm", "Gradient", norm, axis("norm", rangemode="tozero"))
    clip = "Tokens whose gradient the clip cut off. Healthy: a few per cent; much more means too large a learning rate or too many updates."
    yield idle_at_zero(from_keys(runs, NAME, {"clip/low": "below", "clip/high": "above"}, "Clipped tokens", clip, axis("share", **SHARE)))
    moved = "How far the updates of one step move the policy. Healthy: well below 0.05; spikes come before a collapse."
    yield per_run(runs, NAME, "policy_kl", "Movement in a step", moved, axis("nats a token", exponentformat="power", showexponent="all"))


def speed(runs: Sequence[RunFiles]) -> Iterator[Chart | None]:
    """Where the time goes."""
    tokens = "Generated tokens a second of the whole loop. Healthy: steady; a fall means longer waits or fewer engines."
    yield per_run(runs, NAME, "tokens_per_second", "Speed", tokens, axis("tokens/s", rangemode="tozero"))
    how = "Seconds of a step by stage, one upon the other. The largest area is what bounds the run."
    for place, run in enumerate(runs):
        title = "Seconds by stage" + (f": {run.name}" if len(runs) > 1 else "")
        yield stacked(run, f"{NAME}-{place}", STAGES, title, how, axis("s", rangemode="tozero"))


def with_complaints(runs: Sequence[RunFiles], chart: Chart | None) -> Chart | None:
    """The chart with the periods of complaints as a shade behind it, where there is one run."""
    if chart is None or len(runs) > 1:
        return chart
    run = runs[0]
    shades: list[dict[str, Any]] = [
        {"type": "rect", "xref": "x", "yref": "paper", "x0": one.first - 0.5, "x1": (one.last or run.step) + 0.5, "y0": 0, "y1": 1}
        | {"fillcolor": "rgba(213,94,0,0.10)", "line": {"width": 0}, "layer": "below"}
        for one in complaints(run)
    ]
    if shades:
        chart.figure["layout"]["shapes"] = shades
    return chart
