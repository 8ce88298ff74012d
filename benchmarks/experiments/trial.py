"""One small training and its curve, stored as a JSON file."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Self

from benchmarks.rounds import CONFIG

LAST = 10  # steps whose mean reward is the final reward
SAID_EVERY = 10

Point = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The settings of one training; with the same code, equal trials have equal curves."""

    condition: str  # the panel of the picture
    label: str  # the line in the panel
    seed: int
    steps: int
    evaluate_every: int  # steps; 0 is never
    overrides: tuple[str, ...] = ()
    engine_dtype: str = "float32"
    engine_noise: float = 0.0
    config: str = str(CONFIG.relative_to(CONFIG.parents[1]))

    @property
    def name(self) -> str:
        """Its name in files and progress lines."""
        return f"{self.condition}.{self.label}.seed{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The result of a trial."""

    trial: Trial
    ended: str  # why it ended before its last step: "diverged" or "no signal"; "" if it did not
    budget: int  # responses of its steps if no group is rejected
    seconds: float
    steps: list[Point]  # the figures of each step
    held_out: list[Point]  # the figures of each evaluation, the first before training

    @property
    def final(self) -> float:
        """Mean correctness of the last steps' responses."""
        return mean_reward(self.steps)

    @property
    def within_budget(self) -> float:
        """The same over the last steps within `budget`: as many responses as a training that rejects no group."""
        return mean_reward([point for point in self.steps if point["responses"] <= self.budget])

    @property
    def peak(self) -> float:
        """The best that the mean over as many steps ever was."""
        return max((mean_reward(self.steps[: end + 1]) for end in range(LAST - 1, len(self.steps))), default=self.final)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The curve that a finished trial has written."""
        raw = json.loads(path.read_text())
        trial = raw["trial"]
        return cls(**raw | {"trial": Trial(**trial | {"overrides": tuple(trial["overrides"])})})

    def write(self, path: Path) -> None:
        """Write the whole file or none, so that a file that exists is a trial that finished; NaN becomes null."""
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(finite(asdict(self))) + "\n")
        aside.replace(path)


def mean_reward(points: Sequence[Point]) -> float:
    """Mean correctness of the last few steps; NaN without any."""
    return fmean(point["reward/correct"] for point in points[-LAST:]) if points else float("nan")


def finite(value: Any) -> Any:
    """The same with None for every number that JSON does not know."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run(trial: Trial) -> Curve:
    """Train in this process."""
    import time

    from benchmarks.experiments.laboratory import Laboratory
    from benchmarks.experiments.sampler import EngineLike
    from configs.loader import load
    from rollout.prompts.prompts import load_eval_sets

    started = time.perf_counter()
    config = load(trial.config, [*trial.overrides, f"run.seed={trial.seed}", f"run.steps={trial.steps}"])
    steps: list[Point] = []
    held_out: list[Point] = []
    with Laboratory(config, EngineLike(dtype=trial.engine_dtype, noise=trial.engine_noise)) as laboratory:
        asked = load_eval_sets(config, laboratory.tokenizer)[1].prompts

        def evaluate(step: int) -> None:
            if asked and trial.evaluate_every and (step % trial.evaluate_every == 0 or step == trial.steps):
                held_out.append({"step": step, "tokens": laboratory.tokens, **laboratory.evaluate(asked)})

        evaluate(0)
        for point in laboratory.steps(trial.steps):
            steps.append(point)
            evaluate(len(steps))
            if len(steps) % SAID_EVERY == 0:
                print(f"step {len(steps)}: reward {mean_reward(steps):.3f}, {time.perf_counter() - started:.0f} s", flush=True)
        ended = laboratory.ended
    budget = trial.steps * config.rollout.groups_per_step * config.rollout.group_size
    return Curve(trial=trial, ended=ended, budget=budget, seconds=time.perf_counter() - started, steps=steps, held_out=held_out)


def work(trial: Trial, path: Path) -> None:
    """Train and write the curve to `path`; all that is printed goes to a file beside it."""
    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    run(trial).write(path)
