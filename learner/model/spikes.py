"""Which updates spike: the norm of their gradient is far above the median norm of the updates before them.

The norm is that of the whole gradient, before clipping, and equal on every rank. So all ranks decide alike without asking each other.
"""

import math
from collections import deque
from collections.abc import Iterable
from statistics import median

from configs.sections.learner import LearnerConfig

REMEMBERED = 50  # updates whose median a norm is compared with
LEAST = 20  # of them before the first update is judged


class Spikes:
    """The norms of one run's newest updates. Those of the warm-up are neither judged nor remembered.

    A spike is remembered too: norms that stay high become the usual ones after REMEMBERED / 2 updates, and none is a spike any more.
    """

    def __init__(self, learner: LearnerConfig) -> None:
        self.factor, self.warm_up = float(learner.spike_factor), learner.warmup_updates
        self.drops = learner.on_spike != "go on"
        self.norms: deque[float] = deque(maxlen=REMEMBERED)
        self.found = 0  # updates of this step whose gradient spiked or was not finite

    @property
    def median(self) -> float | None:
        """The usual norm; None while too few updates are known."""
        return median(self.norms) if len(self.norms) >= LEAST else None

    def is_spike(self, norm: float) -> bool:
        """Whether a norm is far above the usual one. One that is not finite is none: every such update is dropped anyway."""
        usual = self.median
        return usual is not None and math.isfinite(norm) and norm > self.factor * usual

    def observe(self, norm: float, update: int) -> None:
        """Count and remember the norm of an update, the first of which is 1."""
        if update <= self.warm_up:
            return
        self.found += not math.isfinite(norm) or self.is_spike(norm)
        if 0 < norm < math.inf:
            self.norms.append(norm)

    def refuses(self, norm: float, update: int) -> bool:
        """Whether an update is to be dropped before the optimizer moves."""
        return self.drops and update > self.warm_up and self.is_spike(norm)

    def describe(self) -> dict[str, float]:
        """The metrics of a step, whose count begins anew."""
        found, self.found = self.found, 0
        usual = self.median
        return {"updates_spiked": float(found)} | ({} if usual is None else {"grad_norm_median": usual})

    def restore(self, norms: Iterable[float]) -> None:
        """Continue after these norms, which a checkpoint has."""
        self.norms = deque(norms, maxlen=REMEMBERED)
