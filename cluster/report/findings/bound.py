"""The stage that bounds the step, in a sentence, and how to move the split between engines and ranks."""

from dataclasses import dataclass

from cluster.health.rules.remedies import OVERHEADS, more_engines, more_ranks
from cluster.health.rules.time_rules import LEAST_S, TIME_RULES
from cluster.report.files import RunFiles
from cluster.report.findings.periods import Complaint, complaints
from cluster.report.tables import duration
from configs.errors import ConfigError
from configs.loader import load
from configs.schema import Config

STEPS = 10  # the newest, of which a mean is made
STAGES = ("generate", "learn", "publish", "evaluate", "save")  # the driver's, one after another: their seconds make up the step
SAID = {
    "generate": "Generation bounds the step: the driver waits for groups",
    "learn": "Learning bounds the step: it takes",
    "publish": "The publish bounds the step: it takes",
    "evaluate": "Evaluation bounds the step: it takes",
    "save": "Recording and saving bound the step: they take",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """What bounds the newest steps of a run; `advice` is empty where there is nothing to gain, or nothing is known."""

    stage: str
    seen: str
    advice: str


def bound(run: RunFiles) -> Bound | None:
    """The stage that takes the most of the newest steps; None before the first."""
    rows = [row for row in run.metrics if row["step"]][-STEPS:]
    newest = {row["step"] for row in rows}
    seconds = {stage: mean_over(run, f"seconds/{stage}", newest) for stage in STAGES}
    whole = sum(seconds.values())
    if not whole:
        return None
    stage = max(seconds, key=lambda name: seconds[name])
    what = f"the last {len(rows)} steps" if len(rows) > 1 else "the only step"
    each = " on average" if len(rows) > 1 else ""
    seen = f"{SAID[stage]} {seconds[stage] / whole:.0%} of {what}, {duration(seconds[stage])} of {duration(whole)}{each}."
    if whole < LEAST_S:
        return Bound(stage, seen, "nothing: steps this short are not worth a move")
    config = config_of(run)
    return Bound(stage, seen, "" if config is None else advice(stage, seconds, config))


def advice(stage: str, seconds: dict[str, float], config: Config) -> str:
    """What moves the bound."""
    if stage in OVERHEADS:
        return OVERHEADS[stage]
    split = more_engines(config) if stage == "generate" else more_ranks(config)
    if config.ahead or config.placement.share:
        return split
    together = sum(seconds.values()) - min(seconds["generate"], seconds["learn"])
    return (
        "set run.max_staleness = 1: engines then generate the next groups while the ranks learn, and a step takes about "
        f"{duration(together)} at best; its tokens are one step older. Or {split}"
    )


def of_the_rules(run: RunFiles) -> list[Complaint]:
    """What the health rules about time say now."""
    names = {rule.name for rule in TIME_RULES}
    return [one for one in complaints(run) if one.rule in names and one.last is None]


def mean_over(run: RunFiles, key: str, steps: set[int]) -> float:
    """The mean of a metric over these steps; 0 where they lack it."""
    values = [value for step, value in zip(*run.curve(key), strict=True) if step in steps]
    return sum(values) / len(steps) if values else 0.0


def config_of(run: RunFiles) -> Config | None:
    """The run's config; None where this version cannot read it."""
    try:
        return load(run.folder / "config.toml")
    except (ConfigError, OSError):
        return None
