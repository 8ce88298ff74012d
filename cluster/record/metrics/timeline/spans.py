"""Spans of time that the driver observes: who worked on what, from when to when, on the driver's own clock.

An actor on another node reports lengths only. They are laid out from the moment at which the driver asked, so no clocks are compared.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

MOST = 20_000  # spans in memory; the oldest go first

DRIVER, PUBLISH, WRITER = "driver", "publish", "checkpoint writer"  # lanes beside those of engines and ranks
RANK = "rank "
OF_RANKS = {  # calls to every rank that have spans of their own: kind and name
    "join_transfer": ("publish", "join"),
    "send": ("publish", "send weights"),
    "patch": ("publish", "find changes"),
    "snapshot": ("save", "copy the state"),
    "export": ("save", "export the policy"),
    "load": ("save", "load a checkpoint"),
    "park": ("turn", "give up the GPU"),
    "unpark": ("turn", "take the GPU"),
}
WHILE_LEARNING = {"write": ("save", "write the checkpoint")}  # a call that ranks answer while they learn
LEARNING = {  # lengths that a rank reports of its step, in their order
    "seconds/learn_fetch": "fetch responses",
    "seconds/learn_old": "old log-probs",
    "seconds/learn_split": "mismatch split",
    "seconds/learn_update": "updates",
}


@dataclass(slots=True, eq=False)
class Span:
    """Something that goes on, or went on. Seconds of the driver's clock."""

    lane: str
    name: str
    kind: str
    start: float
    end: float | None = None  # None while it goes on


class Spans:
    """Collects the spans of a run. Driver only; each costs a few microseconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.open: dict[Span, None] = {}
        self.closed: deque[Span] = deque(maxlen=MOST)

    def begin(self, lane: str, name: str, kind: str) -> Span:
        """A span that goes on until `end`."""
        span = Span(lane, name, kind, self.clock())
        self.open[span] = None
        return span

    def end(self, span: Span) -> None:
        """The span ends now, unless it has ended."""
        if span in self.open:
            del self.open[span]
            span.end = self.clock()
            self.closed.append(span)

    def add(self, lane: str, name: str, kind: str, start: float, end: float) -> None:
        """A span that is over; one without a length is nothing."""
        if end > start:
            self.closed.append(Span(lane, name, kind, start, end))

    @contextmanager
    def within(self, lane: str, name: str, kind: str) -> Iterator[None]:
        """What happens inside, however it ends."""
        span = self.begin(lane, name, kind)
        try:
            yield
        finally:
            self.end(span)

    @contextmanager
    def on_ranks(self, method: str, count: int) -> Iterator[None]:
        """A call to all ranks, as the driver sees it; nothing for calls without a span of their own."""
        if method in WHILE_LEARNING:
            kind, name = WHILE_LEARNING[method]
            with self.within(WRITER, name, kind):
                yield
            return
        kind, name = OF_RANKS.get(method, ("", ""))
        spans = [self.begin(f"{RANK}{rank}", name, kind) for rank in range(count)] if kind else []
        try:
            yield
        finally:
            for span in spans:
                self.end(span)

    @contextmanager
    def on_engines(self, names: Sequence[str], name: str, kind: str) -> Iterator[None]:
        """The same for some engines."""
        spans = [self.begin(lane, name, kind) for lane in names]
        try:
            yield
        finally:
            for span in spans:
                self.end(span)

    def learned(self, rank: int, asked: float, lengths: Mapping[str, float]) -> None:
        """The parts of a rank's step, one after another from when it was asked; `lengths` are the step's metrics on that rank."""
        for key, name in LEARNING.items():
            length = lengths.get(key, 0.0)
            self.add(f"{RANK}{rank}", name, "learn", asked, asked + length)
            asked += length

    def answered(self, asked: Span, waits: Sequence[tuple[float, float]], scoring_s: float) -> None:
        """Split the span of a group that an engine has returned: generating, waiting for answers, waiting for the last verdicts.

        `waits` are seconds since the engine was asked, in order.
        """
        self.open.pop(asked, None)
        end = self.clock()
        generated = max(asked.start, end - scoring_s)
        at = asked.start
        for first, last in waits:
            begins, ends = (min(max(asked.start + moment, at), generated) for moment in (first, last))
            self.add(asked.lane, asked.name, asked.kind, at, begins)
            self.add(asked.lane, asked.name, "answer", begins, ends)
            at = ends
        self.add(asked.lane, asked.name, asked.kind, at, generated)
        self.add(asked.lane, asked.name, "score", generated, end)

    def between(self, start: float, end: float) -> list[Span]:
        """The spans that touch this stretch, cut at its edges."""
        found = [*self.closed, *self.open]
        return [
            Span(one.lane, one.name, one.kind, max(one.start, start), min(end if one.end is None else one.end, end))
            for one in found
            if one.start < end and (one.end is None or one.end > start)
        ]

    def forget(self) -> None:
        """Drop the spans that are over."""
        self.closed.clear()
