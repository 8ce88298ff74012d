"""The order in which prompts are used, and what the training loop needs of every such order."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Stream(Protocol):
    """Which prompt each group gets. Groups are numbered 0, 1, 2, ...; a group has one prompt, however often `index` is called."""

    def index(self, group_id: int) -> int:
        """The prompt of this group."""

    def epoch(self, group_id: int) -> int:
        """The group's epoch: completed passes over the prompts before it."""

    def observe(self, group_id: int, correct: NDArray[np.float64]) -> None:
        """Settle a group, learned or rejected, with its responses' raw correctness [G], NaN where unknown. Once for each group."""

    def end_step(self) -> dict[str, float]:
        """Use what the step's groups showed to choose the next prompts; returns metrics of the step."""

    def state(self) -> dict[str, NDArray[np.generic]]:
        """What a checkpoint must save beside the next group's number; empty if nothing."""

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue where `state` was taken."""


class PromptStream:
    """A new shuffle every epoch. The next group id is the whole state, so resuming needs nothing else.

    Every epoch covers each of `size` prompts exactly once, in an order that depends only on the seed and the epoch.
    One epoch's order is in memory at a time: a group of another epoch costs one shuffle.
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError(f"a prompt stream over {size} prompts: needs at least 1, so check that data.train has rows")
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)  # [size]

    def epoch(self, group_id: int) -> int:
        """The group's epoch: completed passes over the prompts before it."""
        if group_id < 0:
            raise ValueError(f"group id {group_id}: group ids count from 0")
        return group_id // self.size

    def index(self, group_id: int) -> int:
        """The prompt of this group."""
        if (epoch := self.epoch(group_id)) != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
            self._epoch = epoch
        return int(self._order[group_id % self.size])

    def observe(self, group_id: int, correct: NDArray[np.float64]) -> None:
        """Nothing: every prompt comes up as often as any other."""

    def end_step(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, NDArray[np.generic]]:
        return {}

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Nothing: the order follows from the group's number."""
