"""Seconds of a step's stages."""

from cluster.record.metrics.metrics import Values
from cluster.record.metrics.timeline.spans import DRIVER, Spans

STAGES = {  # what the driver does in each stage, and its kind in the timeline
    "generate": ("wait for groups", "wait"),
    "learn": ("learn", "learn"),
    "publish": ("publish", "publish"),
    "evaluate": ("evaluate", "evaluate"),
    "save": ("record and save", "save"),
}


class Clock:
    """Seconds of a step's stages, one after another."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.last = spans.clock()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str) -> float:
        """The stage ends now, and the next one begins: its seconds."""
        now = self.spans.clock()
        seconds = now - self.last
        self.laps[stage] = seconds
        self.spans.add(DRIVER, *STAGES[stage], self.last, now)
        self.last = now
        return seconds

    def shares(self) -> Values:
        """Seconds and share of every stage, and the step's seconds in all."""
        whole = sum(self.laps.values())
        seconds = {f"seconds/{stage}": lap for stage, lap in self.laps.items()}
        shares = {f"share/{stage}": lap / max(whole, 1e-9) for stage, lap in self.laps.items()}
        return {**seconds, **shares, "seconds/step": whole}
