"""The order in which prompts are handed out: shuffled afresh every epoch, and known for any position without walking there."""

import numpy as np
from numpy.typing import NDArray


class PromptStream:
    """Which prompt each group gets; its whole position is the next group id, so nothing else need be saved to resume it.

    Every epoch covers each of `size` prompts exactly once, in an order that depends on nothing but the seed and the epoch.
    Holds one epoch's order at a time: a group of another epoch costs one shuffle.
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError(f"a prompt stream over {size} prompts: needs at least 1, so check that data.train has rows")
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)  # [size]

    def epoch(self, group_id: int) -> int:
        """How many times every prompt was handed out before this group's epoch began."""
        if group_id < 0:
            raise ValueError(f"group id {group_id}: group ids count from 0")
        return group_id // self.size

    def index(self, group_id: int) -> int:
        """The prompt of this group."""
        if (epoch := self.epoch(group_id)) != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
            self._epoch = epoch
        return int(self._order[group_id % self.size])
