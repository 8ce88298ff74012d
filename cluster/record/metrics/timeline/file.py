"""`timeline.jsonl` in the run directory: what every engine, rank and reward worker did in some steps.

{"step": 20, "started": 1764184994.1, "length": 2.53, "spans": [{"lane": "engine 0", "name": "group 12", "kind": "generate", "start": 0.0,
"end": 1.27}, …]}    started: wall clock, seconds; start and end: seconds from there, cut at the step's edges

The steps are the first two, each multiple of `run.timeline_every`, and its successor, so that two neighbours show what overlaps. The file
holds at most about LARGEST bytes: when it is larger, every second pair is dropped.
"""

from pathlib import Path

from cluster.record.metrics.lines import LineFile
from cluster.record.metrics.timeline.spans import Span
from cluster.record.saves.replace import replace_text

TIMELINE = "timeline.jsonl"
LARGEST = 8 << 20  # bytes
MOST_SPANS = 5_000  # of a step, about 450 kB; the longest stay
FIRST = 2  # steps that are recorded at the beginning
RAREST = 1 << 40  # steps between recorded ones


def is_recorded(step: int, every: int) -> bool:
    """Whether `run.timeline_every` asks for this step."""
    return every > 0 and (step <= FIRST or step % every in (0, 1))


class TimelineFile:
    """The file of one run, created with its first line."""

    def __init__(self, folder: Path, every: int, largest: int = LARGEST) -> None:
        self.file = LineFile(folder / TIMELINE)
        self.every, self.largest = every, largest

    def is_due(self, step: int) -> bool:
        return is_recorded(step, self.every)

    def write(self, step: int, started: float, length: float, origin: float, spans: list[Span]) -> None:
        """Add a step's line. `origin` is the start of the step on the clock of the spans."""
        left_out = max(0, len(spans) - MOST_SPANS)
        if left_out:
            spans = sorted(spans, key=_length, reverse=True)[:MOST_SPANS]
        rows = [
            {"lane": one.lane, "name": one.name, "kind": one.kind, "start": round(one.start - origin, 4), "end": round(end - origin, 4)}
            for one in spans
            if (end := one.end) is not None
        ]
        line = {"step": step, "started": round(started, 4), "length": round(length, 4), "spans": rows}
        self.file.add(line | ({"left_out": left_out} if left_out else {}))
        self._thin()

    def cut(self, from_step: int) -> None:
        """Drop the steps after a checkpoint."""
        self.file.cut(from_step)

    def flush(self) -> None:
        """Bring every line to the disk; OSError if that is impossible."""
        self.file.flush()

    def complaint(self) -> str:
        """Which lines could not be written yet; empty if none."""
        return self.file.complaint()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _thin(self) -> None:
        """Drop every second pair of steps, and record half as often, where the file has become too large. A full disk ends no run."""
        path, every = self.file.path, self.every
        try:
            if self.file.waiting or path.stat().st_size <= self.largest:
                return
            kept = lines = path.read_bytes().splitlines(keepends=True)
            while len(kept) == len(lines) and every < RAREST:
                every *= 2
                kept = [line for line in lines if is_recorded(_step_of(line), every)]
            self.file.close()  # the file is replaced, and the next line must not go to the old one
            replace_text(path, b"".join(kept).decode())
        except OSError as error:
            self.file.why = error.strerror or str(error)
            return
        self.every = every


def _length(span: Span) -> float:
    return (span.end or span.start) - span.start


def _step_of(line: bytes) -> int:
    """The step of a line, which stands first in it."""
    digits = line.partition(b":")[2].partition(b",")[0].strip()
    return int(digits) if digits.isdigit() else 0
