"""Compare: how the configs of runs differ, where two runs part, and any metric of all of them. Of one run, its config and its changes."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from cluster.report.files import RunFiles
from cluster.report.findings.parting import partings
from cluster.report.pack import short
from cluster.report.page import Page, asset
from cluster.report.tables import table

NAME = "compare"
FIRST_SHOWN = ("reward/mean", "eval/greedy", "entropy", "length/mean", "grad_norm", "mismatch/kl")
PLACES = ("run.dir",)  # differ between any two runs


def compare(runs: Sequence[RunFiles]) -> Page:
    """Config first: why two curves differ is the question."""
    parts = [*differences(runs), *changes(runs), *parted(runs), explorer(runs), *whole(runs)]
    return Page(name=NAME, title="Compare", html="".join(parts), data=columns(runs), script=asset("compare.js"))


def flat(table_: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as dotted keys."""
    out: dict[str, Any] = {}
    for key, value in table_.items():
        inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
        out |= inner or {f"{prefix}{key}": value}
    return out


def differences(runs: Sequence[RunFiles]) -> Iterator[str]:
    """The keys whose values are not the same in all runs."""
    if len(runs) < 2:  # noqa: PLR2004
        return
    yield "<h2>Config difference</h2>"
    tables = [flat(run.config) for run in runs]
    rows = []
    for key in dict.fromkeys(key for one in tables for key in one):
        values = [repr(one[key]) if key in one else None for one in tables]
        if key not in PLACES and len(set(values)) > 1:
            rows.append([key, *values])
    if rows:
        yield table(["key", *(run.name for run in runs)], rows, kind="facts")
    else:
        yield "<p>Every key but run.dir has the same value.</p>"


def changes(runs: Sequence[RunFiles]) -> Iterator[str]:
    """What was changed when a run was resumed."""
    query = "SELECT attempts.attempt, from_step, key, before, after FROM changes JOIN attempts USING (attempt) ORDER BY attempt, key"
    rows = [[run.name, row["from_step"], row["key"], row["before"], row["after"]] for run in runs for row in run.ledger(query)]
    if rows:
        yield "<h2>Changed on resume</h2>"
        yield table(["run", "after step", "key", "before", "after"], rows)


def parted(runs: Sequence[RunFiles]) -> Iterator[str]:
    """Every further run against the first."""
    for other in runs[1:]:
        found = partings(runs[0], other)
        if not found:
            continue
        yield f'<h2 dir="auto">Where {escape(runs[0].name)} and {escape(other.name)} part</h2>'
        yield (
            "<p class='quiet'>Equal: the same to the last digit that far. Apart: from there on means of five steps differ beyond the noise "
            "of single steps. Two runs of one config and seed are equal on one machine.</p>"
        )
        rows = [
            [
                one.key,
                f"to step {one.equal_to}" if one.equal_to is not None else "no step",
                f"from step {one.from_step}" if one.from_step is not None else "within the noise",
                *(one.values or (None, None)),
            ]
            for one in found
        ]
        yield table(["metric", "equal", "apart", f"{runs[0].name} there", f"{other.name} there"], rows)


def explorer(runs: Sequence[RunFiles]) -> str:
    """Any metric, drawn by the page's script."""
    keys = sorted({key for run in runs for key in run.keys})
    if not keys:
        return "<h2>Any metric</h2><p>No step is on record yet.</p>"
    chosen = [key for key in FIRST_SHOWN if key in keys]
    options = "".join(f'<option value="{escape(key)}">' for key in keys)
    picked = "".join(f'<button type="button" class="chip" data-key="{escape(key)}">{escape(key)} ✕</button>' for key in chosen)
    return (
        "<h2>Any metric</h2>"
        f'<div class="picker"><input list="compare-keys" placeholder="add one of {len(keys)} metrics" aria-label="metric">'
        f'<datalist id="compare-keys">{options}</datalist><label><input type="checkbox"> logarithmic</label>'
        f'<span class="chips">{picked}</span></div><div class="cards" id="compare-charts"></div>'
        "<p class='quiet'>The keys are those of metrics.jsonl; docs/metrics.md says what each means.</p>"
    )


def columns(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """Steps and values of every metric of each run."""
    return [{"name": run.name, "curves": {key: curve(run, key) for key in sorted(run.keys)}} for run in runs]


def curve(run: RunFiles, key: str) -> list[list[float]]:
    steps, values = run.curve(key)
    return [list(steps), [short(value) for value in values]]


def whole(runs: Sequence[RunFiles]) -> Iterator[str]:
    """The config of each run, folded."""
    for run in runs:
        rows = [[key, repr(value)] for key, value in flat(run.config).items()]
        if rows:
            listed = table(["key", "value"], rows, kind="facts")
            yield f'<details><summary dir="auto">Config of {escape(run.name)}</summary>{listed}</details>'
