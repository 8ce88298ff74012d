"""Mixtures of experts: load by layer and time, experts that differ between engine and learner, and what the mismatch consists of."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.report.curves import axis, from_keys, identifier, idle_at_zero, per_run
from cluster.report.files import RunFiles
from cluster.report.lines import number
from cluster.report.page import Chart, Figure, Page, asset, cards

NAME = "experts"
BRIGHTEST = 3.0  # times the even share; beyond it the colour stays the same
PALE = 0.01  # share of tokens up to which a map of experts that differ stays pale
EVEN_IS_WHITE = [[0, "#2166ac"], [1 / BRIGHTEST, "#f7f7f7"], [1, "#b2182b"]]
LEVELS = 40  # of one even share, so that a share fits a byte
MOST_CELLS = 400_000  # of all steps of the map of one run
SHARE = {"rangemode": "tozero", "tickformat": ".1~%"}
DENSE = "No experts are on record: the model is dense, or its router cannot be followed. What is known of the mismatch stands below."


def experts(runs: Sequence[RunFiles]) -> Page:
    """Maps of each run, then the curves of all."""
    charts: list[Chart] = []
    parts, data = [], {}
    for place, run in enumerate(runs):
        own = [chart for chart in (load_map(run, place), fullest(run, place), differ_by_layer(run, place)) if chart is not None]
        if own:
            head = f'<h2 dir="auto">{escape(run.name)}</h2>' if len(runs) > 1 else ""
            parts.append(head + cards(own))
        charts += own
        if run.experts is not None:
            data[identifier(NAME, str(place), "load")] = steps_of_map(run)
    curves = [chart for chart in (*load(runs), *mismatch(runs)) if chart is not None]
    parts = parts or [f'<p class="quiet">{DENSE}</p>']
    parts.append(f"<h2>Curves</h2>{cards(curves)}" if curves else "")
    return Page(name=NAME, title="Experts", html="".join(parts), charts=[*charts, *curves], data=data, script=asset("experts.js"))


def load_map(run: RunFiles, place: int) -> Chart | None:
    """Layer by expert in the newest step; the page's script shows the other steps."""
    if run.experts is None:
        return None
    steps, counts = run.experts
    how = "Tokens of each expert, as times the even share. White is even, red flooded, blue starved. Healthy: pale everywhere."
    title = f"Load of each expert, step {steps[-1]}"
    return Chart(id=identifier(NAME, str(place), "load"), title=title, how=how, figure=load_figure(shares(counts[-1])), height=320)


def load_figure(times: NDArray[np.float64]) -> Figure:
    layers, count = times.shape
    trace: dict[str, Any] = {"type": "heatmap", "z": np.round(times, 2).tolist(), "zmin": 0, "zmax": BRIGHTEST}
    trace |= {"colorscale": EVEN_IS_WHITE, "colorbar": {"thickness": 10, "title": {"text": "×"}}}
    trace |= {"hovertemplate": "layer %{y}, expert %{x}: %{z:.2f} × the even share<extra></extra>"}
    whole = {"dtick": max(1, count // 8), "title": {"text": "expert"}}
    return {"data": [trace], "layout": {"xaxis": whole, "hovermode": "closest", **axis("layer", dtick=max(1, layers // 8))}}


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts [..., E] as times the even share of their layer."""
    times: NDArray[np.float64] = counts / np.maximum(counts.mean(-1, keepdims=True), 1e-9)
    return times


def steps_of_map(run: RunFiles) -> dict[str, Any]:
    """The maps of some steps, a byte for each expert, for the slider."""
    assert run.experts is not None
    steps, counts = run.experts
    some = np.unique(np.linspace(0, len(steps) - 1, max(1, min(len(steps), MOST_CELLS // counts[0].size))).astype(int))
    levels = np.clip(np.round(shares(counts[some]) * LEVELS), 0, 255).astype(np.uint8)
    maps = [b64encode(one.tobytes()).decode("ascii") for one in levels]
    return {"steps": steps[some].tolist(), "maps": maps, "layers": counts.shape[1], "experts": counts.shape[2], "levels": LEVELS}


def fullest(run: RunFiles, place: int) -> Chart | None:
    """The fullest expert of each layer over the steps."""
    if run.experts is None:
        return None
    steps, counts = run.experts
    worst = shares(counts).max(2)
    trace = {"type": "heatmap", "x": steps.tolist(), "z": np.round(worst.T, 2).tolist(), "colorscale": "YlOrRd", "reversescale": True}
    trace |= {"zmin": 1, "zmax": max(2.0, float(worst.max())), "colorbar": {"thickness": 10, "title": {"text": "×"}}}
    trace |= {"hovertemplate": "step %{x}, layer %{y}: fullest expert %{z:.2f} × the even share<extra></extra>"}
    how = "The fullest expert of each layer, as times its even share. Healthy: pale; a row that darkens is a router that collapses."
    layout = {"hovermode": "closest", **axis("layer", dtick=max(1, counts.shape[1] // 8))}
    figure = {"data": [trace], "layout": layout}
    return Chart(id=identifier(NAME, str(place), "fullest"), title="Fullest expert by layer and step", how=how, figure=figure, height=320)


def differ_by_layer(run: RunFiles, place: int) -> Chart | None:
    """Share of tokens with other experts in the learner, by layer and step."""
    rows = [(row["step"], row["routing/differ"]) for row in run.layers if isinstance(row.get("routing/differ"), list)]
    if not rows:
        return None
    depth = max(len(values) for _, values in rows)
    values = [[number(value) for value in (*values, *(None,) * (depth - len(values)))] for _, values in rows]
    largest = max((value for row in values for value in row if value is not None), default=0.0)
    trace: dict[str, Any] = {"type": "heatmap", "x": [step for step, _ in rows], "z": [list(layer) for layer in zip(*values, strict=True)]}
    trace |= {"zmin": 0, "zmax": max(largest, PALE)}  # without bounds a map of zeros would have the colour of the middle
    trace |= {"colorscale": "YlOrRd", "reversescale": True, "colorbar": {"thickness": 10, "tickformat": ".1~%"}}
    trace |= {"hovertemplate": "step %{x}, layer %{y}: %{z:.2%} of the tokens<extra></extra>"}
    how = "Tokens that take other experts in the learner than in the engine. Healthy: pale; 0 with learner.routing = replay_rollout."
    layout = {"hovermode": "closest", **axis("layer", dtick=max(1, depth // 8))}
    figure = {"data": [trace], "layout": layout}
    title = "Experts that differ, by layer and step"
    return Chart(id=identifier(NAME, str(place), "differ"), title=title, how=how, figure=figure, height=320, idle=largest == 0)


def load(runs: Sequence[RunFiles]) -> Iterator[Chart | None]:
    """How even the load is, over steps."""
    fullest_ = (
        "The fullest expert of a layer over the layer's mean. Healthy: flat; 1 is even. A rise towards E/K means that few experts do all."
    )
    keys = {"load/max_over_mean": "mean of the layers", "load/max_over_mean_worst": "worst layer"}
    yield from_keys(runs, NAME, keys, "Fullest expert", fullest_, axis("× mean", rangemode="tozero"))
    even = "Entropy of the load over its largest value. Healthy: flat, near 1; a fall means that experts are left out."
    keys = {"load/entropy": "mean of the layers", "load/entropy_worst": "worst layer"}
    yield from_keys(runs, NAME, keys, "Evenness", even, axis("share", rangemode="tozero"))
    dead = "Experts without a single token in the step. Healthy: flat or falling; a rise means that experts die."
    yield idle_at_zero(per_run(runs, NAME, "load/dead", "Experts without tokens", dead, axis("experts", rangemode="tozero")))


def mismatch(runs: Sequence[RunFiles]) -> Iterator[Chart | None]:
    """How far engine and learner differ, and why."""
    how = "Tokens whose experts differ between engine and learner. Healthy: a few per cent at most, without a trend."
    keys = {"routing/tokens_differ": "tokens", "routing/differ": "token and layer", "routing/differ_max": "worst layer"}
    yield idle_at_zero(from_keys(runs, NAME, keys, "Experts that differ", how, axis("share", **SHARE)))
    parts = "What the mismatch consists of: numerics are kernels and precision, routing other experts, staleness the policy's own movement."
    keys = {"split/numerics": "numerics", "split/routing": "routing", "split/staleness": "staleness", "split/engine": "engine"}
    yield from_keys(runs, NAME, keys, "The mismatch split", parts, axis("nats", rangemode="tozero"))
    tail = "Difference of log-probs between engine and learner. Healthy: flat. A mean that stays while the largest jumps is a few tokens."
    keys = {"mismatch/mean": "mean", "mismatch/p999": "99.9%", "mismatch/max": "largest"}
    yield from_keys(runs, NAME, keys, "Mismatch of single tokens", tail, axis("nats", type="log", exponentformat="power"))
    ess = "Share of the batch that remains effective under importance weights. Healthy: near 1; below 0.5 most tokens hardly count."
    yield per_run(runs, NAME, "mismatch/ess", "Effective sample size", ess, axis("share", rangemode="tozero"))
    corrected = "Tokens whose factor the correction capped, or that it dropped. Healthy: a few per cent."
    keys = {"correction/capped": "capped", "correction/masked": "masked", "correction/vetoed": "vetoed"}
    yield idle_at_zero(from_keys(runs, NAME, keys, "Correction", corrected, axis("share", **SHARE)))
