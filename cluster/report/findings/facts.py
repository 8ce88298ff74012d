"""What a run is and how far it came, as rows of a table: read from its config, its metrics and its ledger."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.record.metrics.held_out import greedy_correctness
from cluster.record.nodes import describe_nodes
from cluster.report.files import RunFiles
from cluster.report.tables import duration, shown

ENDS = 10  # steps averaged at the end

Fact = tuple[str, str | None]


def facts(run: RunFiles) -> Iterator[Fact]:
    """Names with a text each, the same names for every run; None where the run does not say it."""
    yield "state", run.state
    yield "steps", f"{run.step} of {run.steps}" if run.steps else str(run.step)
    yield from times(run)
    yield from results(run)
    yield "Gatewise", run.version
    yield "model", text(run, "model.path")
    yield "data", text(run, "data.train")
    yield "reward", text(run, "reward.checker")
    yield "objective", ", ".join(filter(None, (text(run, "objective.preset"), labelled(run, "learning rate", "learner.lr")))) or None
    yield "batch", batch(run)
    yield "staleness", labelled(run, "at most", "run.max_staleness")
    yield "hardware", hardware(run)
    yield "seed", text(run, "run.seed")
    yield "folder", str(run.folder.absolute())


def times(run: RunFiles) -> Iterator[Fact]:
    """When the run began and when its newest step ended, and how often it was started."""
    attempts = run.ledger("SELECT started FROM attempts ORDER BY attempt")
    ended = run.ledger("SELECT max(finished) AS finished FROM steps WHERE NOT undone")
    began = attempts[0]["started"] if attempts else None
    last = ended[0]["finished"] if ended else None
    yield "began", moment(began)
    yield "newest step", moment(last)
    yield "took", duration(last - began) if began and last else None
    yield "starts", f"{len(attempts)}" + (f" (resumed {len(attempts) - 1} times)" if len(attempts) > 1 else "") if attempts else None


def results(run: RunFiles) -> Iterator[Fact]:
    """Reward and held-out correctness from the first to the last, and the speed."""
    steps, rewards = run.curve("reward/mean")
    ends = rewards[-ENDS:]
    yield "mean reward", f"{rewards[0]:.3f} at step {steps[0]} → {sum(ends) / len(ends):.3f} (last {len(ends)})" if rewards else None
    found = [(row["step"], correct) for row in run.metrics if (correct := greedy_correctness(finite_row(row)))]
    courses = {name: [(step, correct[name]) for step, correct in found if name in correct] for name in (found[-1][1] if found else ())}
    yield "held-out", "; ".join(course(name, values) for name, values in courses.items()) or None
    tokens, seconds = run.curve("tokens")[1], run.curve("seconds/step")[1]
    known = tokens and sum(seconds) > 0
    yield "speed", f"{sum(tokens) / sum(seconds):,.0f} tokens/s, {sum(seconds) / len(seconds):.3g} s a step" if known else None
    yield "tokens learned", shown(sum(run.curve("learned_tokens")[1])) if run.curve("learned_tokens")[1] else None


def finite_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if isinstance(value, int | float)}


def course(name: str, values: list[tuple[int, float]]) -> str:
    """The evaluations of one set in a few words."""
    step, best = max(values, key=lambda one: one[1])
    middle = f", best {best:.3f} at step {step}" if best > values[-1][1] else ""
    before = f"{values[0][1]:.3f} → " if len(values) > 1 else ""
    return f"{'' if name == 'held-out' else name + ' '}{before}{values[-1][1]:.3f}{middle}"


def moment(seconds: float | None) -> str | None:
    """A time of the clock where the report was written."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if seconds else None


def text(run: RunFiles, key: str) -> str | None:
    value = run.key(key)
    return None if value is None else str(value)


def labelled(run: RunFiles, label: str, key: str) -> str | None:
    value = text(run, key)
    return value and f"{label} {value}"


def batch(run: RunFiles) -> str | None:
    """Prompts, responses and updates of a step."""
    groups, size, updates = (run.key(name) for name in ("rollout.groups_per_step", "rollout.group_size", "learner.updates_per_step"))
    return f"{groups} prompts × {size} responses, {updates} updates a step" if groups and size and updates else None


def hardware(run: RunFiles) -> str | None:
    """Where engines and ranks ran, and on what kind of device the config asked for."""
    try:
        nodes = json.loads((run.folder / "nodes.json").read_text(encoding="utf-8"))
        where = "; ".join(describe_nodes(nodes))
    except (OSError, ValueError, AttributeError, TypeError):
        where = ""
    return "; ".join(filter(None, (where, labelled(run, "device", "run.device")))) or None
