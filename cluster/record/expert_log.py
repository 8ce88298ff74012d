"""`experts.npz` in the run directory: tokens that each expert of each layer took, in the newest step and in some steps before it.

    steps [N]   counts [N, L, E]      np.load("experts.npz")

It holds at most 2 × KEPT + 1 steps. When there are more, every second one is dropped: the longer the run, the coarser its history.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.arithmetic import counted

KEPT = 64

History = tuple[NDArray[np.int64], NDArray[np.int64]]  # steps [N], counts [N, L, E]


class ExpertLog:
    """The table of one run; a dense model writes none."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "experts.npz"
        self.lost: list[int] = []  # steps that could not be written
        self.on_lost: Callable[[str], object] = lambda name: None  # hears of each step that a full disk did not take

    def read(self) -> History | None:
        """Steps in rising order and their counts; None if nothing is written yet."""
        if not self.path.exists():
            return None
        with np.load(self.path) as kept:
            return kept["steps"], kept["counts"].astype(np.int64)

    def cut(self, from_step: int) -> None:
        """Drop the steps after a checkpoint."""
        if (kept := self.read()) is not None:
            self._replace(*(values[kept[0] <= from_step] for values in kept))

    def write(self, step: int, table: NDArray[np.int64]) -> bool:
        """Add the newest step's counts [L, E]; whether the disk took them. Any thread may call it, but for `on_lost`."""
        kept = self.read()
        steps = np.array([step]) if kept is None else np.append(kept[0], step)
        counts = table[None] if kept is None else np.concatenate([kept[1], table[None]])
        chosen = thinned(steps)
        try:
            self._replace(steps[chosen], counts[chosen])
        except OSError:  # a full disk ends no run
            self.path.with_suffix(".tmp").unlink(missing_ok=True)
            self.lost.append(step)
            return False
        return True

    def flush(self) -> None:
        """Nothing waits in memory."""

    def complaint(self) -> str:
        """Which steps could not be written; empty if all were."""
        return f"experts.npz lacks {counted(len(self.lost), 'step')} from {self.lost[0]} to {self.lost[-1]}" if self.lost else ""

    def _replace(self, steps: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        aside = self.path.with_suffix(".tmp")
        with aside.open("wb") as file:
            np.savez_compressed(file, steps=steps, counts=counts.astype(np.uint32))
            file.flush()
            os.fsync(file.fileno())  # a power cut may keep the new name and lose the table: the run could not be resumed
        aside.replace(self.path)


def thinned(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of these steps stay: the newest, and the multiples of the smallest power of two that leaves 2 × KEPT of the rest."""
    every = 1
    while (steps[:-1] % every == 0).sum() > 2 * KEPT:
        every *= 2
    stays: NDArray[np.bool_] = steps % every == 0
    stays[-1] = True
    return stays
