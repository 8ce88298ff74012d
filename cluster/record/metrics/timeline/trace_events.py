"""A run's timeline in the Trace Event Format of Chrome, which ui.perfetto.dev and chrome://tracing open.

{"traceEvents": [{"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "engine 0"}}, …,
                 {"ph": "X", "name": "group 12", "cat": "generate", "ts": 0, "dur": 1270000, "pid": 1, "tid": 1, "args": {}}, …],
 "displayTimeUnit": "ms"}

A lane is a process; a row of spans that do not overlap is a thread, as slices of one thread may only nest. ts and dur are microseconds.
Source: the document "Trace Event Format".
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.record.metrics.timeline.lanes import Step, by_lane, ends_of, rows, stretches
from cluster.record.metrics.timeline.spans import Span
from cluster.record.saves.asked import write_aside

Event = dict[str, Any]
STEPS = "steps"  # the first lane


def trace_of(steps: Sequence[Step], name: str) -> dict[str, Any]:
    """The trace of recorded steps. Time 0 is the start of the first one; between steps that are not recorded stands their time too."""
    spans: list[Span] = []
    whole = stretches(steps, longest=max(1, len(steps)))
    ends = 0.0
    for stretch in whole:
        at = max(ends, stretch.started - whole[0].started)  # a clock that was set back moves no step into another
        bounds = [*stretch.starts, stretch.length]
        spans += [
            Span(STEPS, f"step {step}", "step", at + start, at + end)
            for step, start, end in zip(stretch.steps, bounds, bounds[1:], strict=False)
        ]
        spans += [Span(one.lane, one.name, one.kind, at + one.start, at + ends_of(one)) for one in stretch.spans]
        ends = at + stretch.length
    events: list[Event] = []
    lanes = by_lane(spans)
    for pid, lane in enumerate(sorted(lanes, key=lambda lane: lane != STEPS), start=1):
        events += [metadata("process_name", pid, 0, name=lane), metadata("process_sort_index", pid, 0, sort_index=pid)]
        for tid, row in enumerate(rows(lanes[lane]), start=1):
            events += [
                metadata("thread_name", pid, tid, name=f"{lane}, row {tid}"),
                metadata("thread_sort_index", pid, tid, sort_index=tid),
            ]
            events += slices(row, pid, tid)
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"run": name, "steps": [one.step for one in steps]}}


def metadata(what: str, pid: int, tid: int, **args: object) -> Event:
    """An event that names or sorts a process or a thread."""
    return {"ph": "M", "name": what, "cat": "__metadata", "ts": 0, "pid": pid, "tid": tid, "args": args}


def slices(row: Sequence[Span], pid: int, tid: int) -> Iterator[Event]:
    """The spans of a thread in whole microseconds; one that was rounded into the span before it begins where that ends."""
    last = 0
    for span in row:
        start = max(last, round(span.start * 1e6))
        last = max(start, round(ends_of(span) * 1e6))
        yield {"ph": "X", "name": span.name, "cat": span.kind, "ts": start, "dur": last - start, "pid": pid, "tid": tid, "args": {}}


BEGINS = (b'{"traceEvents":', b"\x1f\x8b")  # of such a file, plain and compressed


def write_trace(steps: Sequence[Step], name: str, to: Path) -> None:
    """Write the trace; compressed where the file's name ends with .gz, which Perfetto opens too."""
    raw = json.dumps(trace_of(steps, name), separators=(",", ":")).encode()
    write_aside(to, gzip.compress(raw, 6) if to.suffix == ".gz" else raw)
