"""What an observer from outside knows of a laboratory run."""

from collections import Counter
from collections.abc import Callable

from benchmarks.faults.plan import Fault, Site


class History:
    """What is known of a run from outside, through all its drivers: the truth that its records are compared with."""

    def __init__(self) -> None:
        self.sites: Counter[Site] = Counter()
        self.struck: list[str] = []
        self.violations: list[str] = []
        self.weights: dict[int, set[int]] = {}  # the weights that the learner ever had after a step
        self.damage = False
        self.now: Callable[[], float] = lambda: 0.0

    def strike(self, fault: Fault) -> None:
        """A witness that a fault struck."""
        self.struck.append(f"{self.now():.1f} s: {fault}")

    def wrong(self, text: str) -> None:
        """Something that must not happen happened."""
        self.violations.append(text)
