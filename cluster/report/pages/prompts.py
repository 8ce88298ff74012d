"""Prompts: how often each was solved over the run, which never are, which always are, and which were lost again. From the ledger."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from cluster.report.curves import axis, colour, identifier, line
from cluster.report.files import RunFiles
from cluster.report.lines import Row, number, read_rows
from cluster.report.page import Chart, Page, cards
from cluster.report.tables import note, table
from configs.arithmetic import plural

NAME = "prompts"
HARD, EASY = 0.1, 0.9  # shares of the reward's range: below the one a group counts as unsolved, above the other as solved
MAPPED = 150  # prompts of the map, those that came up most often
SHOWN = 25  # rows of a table
LOST = 0.4  # of the range, between the best visit of a prompt and its newest
MOST_BARS = 20  # of the distribution
CUT = 200  # characters of a prompt
READ = 400  # files of responses in which the words of prompts are looked up
BANDS = (("unsolved", "#D55E00"), ("in between", "#E69F00"), ("solved", "#009E73"))

# Of the groups that were learned, in the order of their visits. Those of an attempt that was undone do not count.
BY_STEP = """SELECT step, avg(reward <= ?) AS hard, avg(reward >= ?) AS easy, count(*) AS groups FROM groups
    WHERE outcome = 'learned' AND reward IS NOT NULL GROUP BY step ORDER BY step"""
BY_PROMPT = """SELECT prompt_id, count(*) AS visits, avg(reward) AS mean, min(reward) AS low, max(reward) AS high, max(step) AS step
    FROM groups WHERE outcome = 'learned' AND reward IS NOT NULL GROUP BY prompt_id"""
VISITS = """SELECT prompt_id, step, reward FROM groups WHERE outcome = 'learned' AND reward IS NOT NULL
    AND prompt_id IN (SELECT value FROM json_each(?)) ORDER BY group_id"""
REJECTED = "SELECT prompt_id, count(*) AS groups FROM groups WHERE outcome = 'rejected' GROUP BY prompt_id ORDER BY groups DESC LIMIT ?"


def prompts(runs: Sequence[RunFiles]) -> Page:
    """Charts and tables of each run."""
    charts: list[Chart] = []
    parts = []
    for place, run in enumerate(runs):
        head = f'<h2 dir="auto">{escape(run.name)}</h2>' if len(runs) > 1 else ""
        rows = run.ledger(BY_PROMPT)
        if not rows:
            parts.append(head + note(f"{run.name}: its ledger names no learned group yet, so nothing is known of single prompts."))
            continue
        own = [
            chart for chart in (over_time(run, place), visits_map(run, rows, place), distribution(run, rows, place)) if chart is not None
        ]
        charts += own
        parts.append(head + summary(rows) + cards(own) + "".join(tables_of(run, rows)))
    return Page(name=NAME, title="Prompts", html="".join(parts), charts=charts)


def bounds(run: RunFiles) -> tuple[float, float]:
    """The rewards up to which a group counts as unsolved, and from which it counts as solved."""
    low, high = ends_of(run)
    return low + HARD * (high - low), low + EASY * (high - low)


def ends_of(run: RunFiles) -> tuple[float, float]:
    """The lowest and the highest reward that the config names."""
    wanted = run.key("reward.range")
    ends = [number(end) for end in wanted] if isinstance(wanted, list) and len(wanted) == len(("low", "high")) else [0.0, 1.0]
    low, high = (end if end is not None else float(place) for place, end in enumerate(ends))
    return low, high


def summary(rows: Sequence[Row]) -> str:
    """Counts in a sentence."""
    visits = sum(row["visits"] for row in rows)
    most = max(row["visits"] for row in rows)
    often = "each once" if most == 1 else f"each {visits / len(rows):.3g} times on average and {most} times at most"
    return f"<p>{len(rows):,} {plural('prompt', len(rows))} {'was' if len(rows) == 1 else 'were'} learned from, {often}.</p>"


def over_time(run: RunFiles, place: int) -> Chart | None:
    """Shares of the groups of each step that were unsolved, solved, and in between."""
    rows = run.ledger(BY_STEP, *bounds(run))
    if not rows:
        return None
    steps = [row["step"] for row in rows]
    shares = [[row["hard"] for row in rows], [1 - row["hard"] - row["easy"] for row in rows], [row["easy"] for row in rows]]
    traces = [
        line((steps, values), name, shade, mode="lines", stackgroup="all", line={"color": shade, "width": 0.5})
        for (name, shade), values in zip(BANDS, shares, strict=True)
    ]
    how = "Groups whose mean reward is in the lowest tenth of the range, in the highest, and between. Healthy: unsolved shrinks."
    layout = axis("share of groups", range=[0, 1], tickformat=".0%")
    return Chart(
        id=identifier(NAME, str(place), "time"), title="Solved over time", how=how, figure={"data": traces, "layout": layout}, wide=True
    )


def visits_map(run: RunFiles, rows: Sequence[Row], place: int) -> Chart | None:
    """Mean reward of each visit of the prompts that came up most often."""
    most = sorted(rows, key=lambda row: (-row["visits"], row["prompt_id"]))[:MAPPED]
    if most[0]["visits"] < 2:  # noqa: PLR2004, once is no course
        return None
    by_prompt: dict[str, list[float]] = {row["prompt_id"]: [] for row in sorted(most, key=lambda row: row["mean"])}
    for row in run.ledger(VISITS, json.dumps([row["prompt_id"] for row in most])):
        by_prompt[row["prompt_id"]].append(row["reward"])
    longest = max(map(len, by_prompt.values()))
    if not longest:
        return None
    z = [[round(reward, 3) for reward in rewards] + [None] * (longest - len(rewards)) for rewards in by_prompt.values()]
    trace: dict[str, Any] = {"type": "heatmap", "z": z, "x": list(range(1, longest + 1)), "colorscale": "Viridis"}
    trace |= {"text": [[prompt[:40]] * longest for prompt in by_prompt], "colorbar": {"thickness": 10}}
    trace |= {"hovertemplate": "prompt %{text}, visit %{x}: mean reward %{z}<extra></extra>", "hoverongaps": False}
    how = f"A row for each of {len(by_prompt)} prompts, hardest below, a column for each visit. Healthy: rows brighten to the right."
    layout = {
        "hovermode": "closest",
        "xaxis": {"title": {"text": "visit"}, "dtick": max(1, longest // 8)},
        **axis("prompt", showticklabels=False),
    }
    return Chart(
        id=identifier(NAME, str(place), "map"),
        title="Reward by prompt and visit",
        how=how,
        figure={"data": [trace], "layout": layout},
        height=360,
    )


def distribution(run: RunFiles, rows: Sequence[Row], place: int) -> Chart:
    """How the mean reward of prompts is distributed."""
    shown = bins(run)
    trace: dict[str, Any] = {"type": "histogram", "x": [round(row["mean"], 4) for row in rows], "marker": {"color": colour(place)}}
    trace |= {"autobinx": False, "xbins": shown}
    how = "Prompts by their mean reward over the run. Healthy: most lie inside; two towers at the ends are prompts that teach nothing."
    layout = {
        "hovermode": "closest",
        "bargap": 0.05,
        "xaxis": {"title": {"text": "mean reward"}, "range": [shown["start"], shown["end"]]},
        **axis("prompts"),
    }
    return Chart(
        id=identifier(NAME, str(place), "spread"),
        title="Prompts by reward",
        how=how,
        figure={"data": [trace], "layout": layout},
        height=360,
    )


def bins(run: RunFiles) -> dict[str, float]:
    """Bars with a mean of a group in the middle of each: bars between these means would be empty, whatever the run does."""
    low, high = ends_of(run)
    size = run.key("rollout.group_size")
    width = (high - low) / (size if isinstance(size, int) and 0 < size <= MOST_BARS else MOST_BARS)
    return {"start": low - width / 2, "end": high + width / 2, "size": width}


def tables_of(run: RunFiles, rows: Sequence[Row]) -> Iterator[str]:
    """Prompts that are never solved, always solved, lost again, and rejected most often."""
    hard, easy = bounds(run)
    words = questions(run)

    def order(row: Row) -> tuple[int, bool]:
        return -row["visits"], row["prompt_id"] not in words

    rejected = run.ledger(REJECTED, SHOWN)
    newest = {
        row["prompt_id"]: row["reward"] for row in run.ledger(VISITS, json.dumps([row["prompt_id"] for row in rows if row["visits"] > 1]))
    }
    fallen = [row for row in rows if row["prompt_id"] in newest and row["high"] - newest[row["prompt_id"]] >= LOST * (easy - hard)]
    groups = (
        ("Never solved", "No visit rose above the lowest tenth. Look whether they can be solved, and whether their references are right.",
         sorted((row for row in rows if row["high"] <= hard), key=order)),
        ("Always solved", "Every visit was in the highest tenth: they teach nothing any more.",
         sorted((row for row in rows if row["low"] >= easy), key=order)),
        ("Lost again", "The newest visit is far below the best one.",
         sorted(fallen, key=lambda row: newest[row["prompt_id"]] - row["high"])),
    )  # fmt: skip
    for title, meaning, found in groups:
        of = f"the first {SHOWN} of " if len(found) > SHOWN else ""
        yield f"<h2>{title} <span class='quiet'>{of}{len(found):,} {plural('prompt', len(found))}</span></h2><p class='quiet'>{meaning}</p>"
        if found:
            lines = [
                [
                    row["prompt_id"],
                    words.get(row["prompt_id"]),
                    row["visits"],
                    row["mean"],
                    row["high"],
                    newest.get(row["prompt_id"], row["mean"]),
                ]
                for row in found[:SHOWN]
            ]
            yield table(["prompt", "its words", "visits", "mean", "best", "newest"], lines)
    if rejected:
        yield "<h2>Rejected most often</h2><p class='quiet'>By dynamic sampling, because all responses had one reward.</p>"
        yield table(
            ["prompt", "its words", "rejected"], [[row["prompt_id"], words.get(row["prompt_id"]), row["groups"]] for row in rejected]
        )


def questions(run: RunFiles) -> dict[str, str]:
    """The words of prompts, of those whose responses were kept as text."""
    files = run.texts()
    every = -(-len(files) // READ) or 1
    rows = (row for _, path in files[::every] for row in read_rows(path))
    return {str(row["prompt_id"]): str(row.get("question") or row.get("prompt") or "")[:CUT] for row in rows if "prompt_id" in row}
