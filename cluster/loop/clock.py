"""Seconds of a step's stages."""

import time

from cluster.record.metrics.metrics import Values


class Clock:
    """Seconds of a step's stages, one after another."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = now - self.last
        self.last = now

    def shares(self) -> Values:
        """Seconds and share of every stage, and the step's seconds in all."""
        whole = sum(self.laps.values())
        seconds = {f"seconds/{stage}": lap for stage, lap in self.laps.items()}
        shares = {f"share/{stage}": lap / max(whole, 1e-9) for stage, lap in self.laps.items()}
        return {**seconds, **shares, "seconds/step": whole}
