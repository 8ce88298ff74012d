"""The metrics of a run as its health rules read them: the first steps, the newest steps and every evaluation."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.record.metrics.held_out import greedy_correctness
from configs.schema import Config

FIRST = 5  # steps of the start, with which later ones are compared
RECENT = 200  # steps that stay in memory
AROUND = 10  # steps of mean reward that an evaluation is compared with

Row = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: its mean correctness, and the mean training reward of the steps before it."""

    step: int
    correct: float
    reward: float


class History:
    """The rows of one run, oldest first. A value that is missing, NaN or null counts as unknown."""

    def __init__(self, config: Config, rows: Sequence[Mapping[str, float | None]] = (), held_out: Mapping[str, int] | None = None) -> None:
        """`held_out` has the number of prompts of each eval set, by the name that people call it."""
        self.config, self.held_out = config, dict(held_out or {})
        self.first: list[Row] = []
        self.recent: deque[Row] = deque(maxlen=RECENT)
        self.evaluations: dict[str, list[Evaluation]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Append the row of a step; row 0 has an evaluation only."""
        step = int(row["step"] or 0)
        if step:
            self.recent.append(row)
            if len(self.first) < FIRST:
                self.first.append(row)
        rewards = self.values("reward/mean")[-AROUND:]
        reward = mean(rewards) if rewards else math.nan
        for name, correct in greedy_correctness(row).items():
            self.evaluations.setdefault(name, []).append(Evaluation(step=step, correct=correct, reward=reward))

    @property
    def step(self) -> int:
        """The newest step."""
        return int(self.recent[-1]["step"] or 0)

    def now(self, key: str) -> float | None:
        """The newest step's value; None if it is unknown."""
        value = self.recent[-1].get(key)
        return float(value) if value is not None and known(value) else None

    def last(self, key: str, count: int) -> list[float] | None:
        """The values of the newest `count` steps; None if there are fewer steps or one value is unknown."""
        rows = list(self.recent)[-count:]
        values = [float(value) for row in rows if known(value := row.get(key)) and value is not None]
        return values if len(values) == count else None

    def values(self, key: str) -> list[float]:
        """Every known value among the recent steps."""
        return [float(value) for row in self.recent if known(value := row.get(key)) and value is not None]

    def failed(self, count: int) -> float:
        """The share of the responses of the newest `count` steps that have no reward."""
        rollout = self.config.rollout
        failures = self.last("reward/failures", count) or [0.0]
        return mean(failures) / (rollout.groups_per_step * rollout.group_size)

    def beginning(self, key: str) -> float | None:
        """The mean over the first steps; None until they are complete."""
        values = [float(value) for row in self.first if known(value := row.get(key)) and value is not None]
        return mean(values) if len(values) == FIRST else None


def known(value: float | None) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
