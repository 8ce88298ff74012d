"""The metrics of a run as its health rules read them: the first steps, the newest steps and every evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import pvariance

from cluster.record.metrics.held_out import greedy_correctness
from configs.schema import Config

FIRST = 5  # steps of the start, with which later ones are compared
RECENT = 200  # steps that stay in memory
LEAST, ERRORS = 0.005, 2.0  # a rise that is no noise: of a reward, and in standard errors
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

    def __init__(self, config: Config, rows: Sequence[Row] = (), held_out: Mapping[str, int] | None = None, prompts: int = 0) -> None:
        """`held_out` has the number of prompts of each eval set, by the name that people call it; `prompts` that of the training prompts.

        0 prompts: their number is not known.
        """
        self.config, self.held_out, self.prompts = config, dict(held_out or {}), prompts
        self.first: list[Row] = []
        self.recent: list[Row] = []
        self.evaluations: dict[str, list[Evaluation]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Append the row of a step; row 0 has an evaluation only."""
        step = int(row["step"] or 0)
        if step:
            self.recent = [*self.recent[1 - RECENT :], row]
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
        values = [float(value) for row in self.recent[-count:] if known(value := row.get(key)) and value is not None]
        return values if len(values) == count else None

    def values(self, key: str) -> list[float]:
        """Every known value among the recent steps."""
        return [float(value) for row in self.recent if known(value := row.get(key)) and value is not None]

    def mean(self, key: str, count: int) -> float | None:
        """The mean of the newest `count` steps; None if there are fewer steps or one value is unknown."""
        values = self.last(key, count)
        return None if values is None else mean(values)

    @property
    def responses(self) -> int:
        """Responses of a step."""
        return self.config.rollout.groups_per_step * self.config.rollout.group_size

    def failed(self, count: int) -> float:
        """The share of the responses of the newest `count` steps that have no reward."""
        return mean(self.last("reward/failures", count) or [0.0]) / self.responses

    def alike(self, count: int) -> float | None:
        """The share of the groups of the newest `count` steps that had one reward for all responses, rejected groups included."""
        alike, rejected = self.last("groups/no_signal", count), self.last("groups/rejected", count) or [0.0] * count
        if alike is None:
            return None
        size = self.config.rollout.groups_per_step
        return (sum(alike) * size + sum(rejected)) / (count * size + sum(rejected))

    def beginning(self, key: str) -> float | None:
        """The mean over the first steps; None until they are complete."""
        values = self._first(key)
        return mean(values) if len(values) == FIRST else None

    def rises(self, key: str = "reward/mean") -> bool:
        """Whether the newest FIRST steps are above the first ones by more than the noise of both; false while that is unknown."""
        first, newest = self._first(key), self.last(key, FIRST)
        if len(first) < FIRST or newest is None or self.step < 2 * FIRST:
            return False
        return mean(newest) - mean(first) > max(LEAST, ERRORS * math.sqrt((pvariance(newest) + pvariance(first)) / FIRST))

    def _first(self, key: str) -> list[float]:
        return [float(value) for row in self.first if known(value := row.get(key)) and value is not None]


def known(value: float | None) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
