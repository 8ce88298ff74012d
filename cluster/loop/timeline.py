"""The timeline of a run: what the loop, the engines, the ranks and the publisher do at the same time, written after some steps."""

import time
from typing import Protocol

from cluster.loop.clock import Clock
from cluster.record.metrics.timeline.file import TimelineFile
from cluster.record.metrics.timeline.spans import Spans
from configs.schema import Config


class Observed(Protocol):
    """Somebody who tells the timeline what goes on."""

    spans: Spans


class Timeline(TimelineFile):
    """Gathers the spans of everybody in one place, and writes those of a step when it ends."""

    def __init__(self, config: Config, *observed: Observed) -> None:
        super().__init__(config.run_dir, config.run.timeline_every)
        self.spans = Spans()
        self.started, self.origin = time.time(), self.spans.clock()
        for one in observed:
            one.spans = self.spans

    def begin(self) -> Clock:
        """A step begins now; the clock of its stages."""
        self.started, clock = time.time(), Clock(self.spans)
        self.origin = clock.last
        return clock

    def end(self, step: int) -> None:
        """The step is over. What goes on is cut here, and goes on in the next step's line."""
        now = self.spans.clock()
        if self.is_due(step):
            self.write(step, self.started, now - self.origin, self.origin, self.spans.between(self.origin, now))
        self.spans.forget()
