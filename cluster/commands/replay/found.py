"""What a replay found: a line for every number that differs, and what was compared."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

ROUNDING = 1e-6  # relative, and absolute below 1: float32 sums in another order


@dataclass(slots=True)
class Check:
    """One kind of numbers, computed again and compared."""

    name: str
    compared: str = ""  # what was, in words
    different: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # what was not computed again, and why
    largest: float = 0.0  # difference of numbers that count as equal

    def compare(
        self, where: str | Callable[[tuple[int, ...]], str], recorded: ArrayLike, now: ArrayLike, *, tolerance: float = ROUNDING
    ) -> None:
        """Compare numbers or arrays; NaN equals NaN. `where` names them, given the place of the first one that differs."""
        before, after = np.asarray(recorded, np.float64), np.asarray(now, np.float64)
        if before.shape != after.shape:
            self.different.append(f"{_named(where, ())}: {before.shape} numbers recorded, {after.shape} computed")
            return
        with np.errstate(invalid="ignore"):
            apart = np.where((before == after) | (np.isnan(before) & np.isnan(after)), 0.0, np.abs(before - after))
            wrong = ~(apart <= tolerance * np.maximum(1.0, np.abs(before)))
        if wrong.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(wrong)) if wrong.ndim else ()
            more = f" (and {int(wrong.sum()) - 1} more of it)" if wrong.sum() > 1 else ""
            self.different.append(f"{_named(where, place)}: recorded {before[place]:.9g}, computed {after[place]:.9g}{more}")
        elif apart.size:
            self.largest = max(self.largest, float(apart.max()))

    @property
    def line(self) -> str:
        """The result in a line."""
        if self.different:
            return f"{len(self.different)} different; compared were {self.compared}"
        if not self.compared:
            return f"not computed again: {'; '.join(self.left_out)}"
        close = f", largest difference {self.largest:.1e}" if self.largest else ""
        left = f" (not: {'; '.join(self.left_out)})" if self.left_out else ""
        return f"{self.compared} equal{close}{left}"


def _named(where: str | Callable[[tuple[int, ...]], str], place: tuple[int, ...]) -> str:
    return where if isinstance(where, str) else where(place)
