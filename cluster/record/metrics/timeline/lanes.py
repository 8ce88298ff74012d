"""`timeline.jsonl` read: steps, their neighbours in stretches, and for each lane what it did and for how long it was busy.

A run may be at work, older, or damaged, so whatever is no span of a step is left out.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.record.metrics.timeline.file import TIMELINE
from cluster.record.metrics.timeline.spans import DRIVER, PUBLISH, RANK, WRITER, Span

ENGINE, REWARDS = "engine ", "reward workers"
OF_REWARDS = ("score", "answer")  # kinds of spans in which a group waits for reward workers, environments or tools
IDLE = ("wait", *OF_REWARDS)  # kinds in which the lane itself has nothing to do
CLOSE_S = 0.001  # parts of one span in two steps are at most so far apart
LATEST_S = 1e12
NEXT_S = 5.0  # a step that begins later after the one before it is no neighbour: the run was stopped meanwhile

Cover = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded step; `started` is wall clock, and its spans have seconds from there."""

    step: int
    started: float
    length: float
    spans: Sequence[Span]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Recorded steps that follow each other, with the seconds of all spans from the start of the first."""

    steps: Sequence[int]
    starts: Sequence[float]  # of each step
    started: float  # wall clock
    length: float
    spans: Sequence[Span]
    left_out: int = 0

    @property
    def name(self) -> str:
        first, last = self.steps[0], self.steps[-1]
        return f"step {first}" if first == last else f"steps {first} and {last}" if last == first + 1 else f"steps {first} to {last}"


def read_timeline(folder: Path) -> list[Step]:
    """The recorded steps in rising order; of two lines of one step the later counts. None where there is no file."""
    try:
        raw = (folder / TIMELINE).read_bytes()
    except OSError:
        return []
    found: dict[int, Step] = {}
    for line in raw.split(b"\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and (step := read_step(row)) is not None:
            found[step.step] = step
    return [found[step] for step in sorted(found)]


def read_step(row: dict[str, Any]) -> Step | None:
    """A line as a step; None where it lacks what makes one."""
    step, spans, left_out = row.get("step"), row.get("spans"), row.get("left_out")
    started, length = moment(row.get("started")), moment(row.get("length"))
    if type(step) is not int or started is None or length is None or not isinstance(spans, list):
        return None
    read = [span for one in spans if isinstance(one, dict) and (span := read_span(one)) is not None]
    return Step(step, started, length, read, left_out if type(left_out) is int else 0)


def read_span(row: dict[str, Any]) -> Span | None:
    """An entry of a line as a span; None where it lacks what makes one."""
    lane, name, kind = (row.get(key) for key in ("lane", "name", "kind"))
    start, end = moment(row.get("start")), moment(row.get("end"))
    if start is None or end is None or end < start or not all(isinstance(text, str) for text in (lane, name, kind)):
        return None
    return Span(str(lane), str(name), str(kind), start, end)


def moment(value: object) -> float | None:
    """Seconds that a file says; None where they are no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LATEST_S:
        return None
    return float(value)


def stretches(steps: Sequence[Step], longest: int = 2) -> list[Stretch]:
    """Neighbours together, at most `longest` steps in one; parts of one span in both become one span again."""
    found: list[list[Step]] = []
    for step in steps:
        last = found[-1][-1] if found else None
        ends = last.started + last.length if last else 0.0
        follows = last is not None and step.step == last.step + 1 and abs(step.started - ends) < NEXT_S
        if follows and len(found[-1]) < longest:
            found[-1].append(step)
        else:
            found.append([step])
    return [join(steps) for steps in found]


def join(steps: Sequence[Step]) -> Stretch:
    """One stretch. Each step begins where the one before it ends: a wall clock that was set meanwhile moves nothing."""
    starts, at, whole = [], 0.0, []
    goes_on: dict[tuple[str, str, str], Span] = {}
    for step in steps:
        starts.append(at)
        reach: dict[tuple[str, str, str], Span] = {}
        for span in sorted(step.spans, key=lambda one: one.start):
            key = (span.lane, span.name, span.kind)
            moved = Span(*key, at + span.start, at + ends_of(span))
            before = goes_on.pop(key, None) if span.start < CLOSE_S else None
            if before is not None:
                before.end, moved = moved.end, before
            else:
                whole.append(moved)
            if step.length - ends_of(span) < CLOSE_S:
                reach[key] = moved
        at, goes_on = at + step.length, reach
    return Stretch([one.step for one in steps], starts, steps[0].started, at, whole, sum(one.left_out for one in steps))


def ends_of(span: Span) -> float:
    return span.start if span.end is None else span.end


def by_lane(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """The spans of each lane, in the order in which a page shows lanes; reward workers have what groups wait for at the engines."""
    found: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda one: (one.start, one.name)):
        found.setdefault(span.lane, []).append(span)
        if span.kind in OF_REWARDS:
            found.setdefault(REWARDS, []).append(replace(span, lane=REWARDS))
    return {lane: found[lane] for lane in sorted(found, key=_place)}


def _place(lane: str) -> tuple[int, int, str]:
    kinds = [lane == DRIVER, lane.startswith(ENGINE), lane == REWARDS, lane.startswith(RANK), lane == PUBLISH, lane == WRITER]
    digits = "".join(filter(str.isdigit, lane))
    return kinds.index(True) if True in kinds else len(kinds), int(digits) if digits.isascii() and 0 < len(digits) < 9 else 0, lane  # noqa: PLR2004


def rows(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans of a lane in as few rows as possible, so that no two in a row overlap. The parts of one group stay in one row."""
    found: list[list[Span]] = []
    for span in sorted(spans, key=lambda one: one.start):
        free = [row for row in found if ends_of(row[-1]) <= span.start + CLOSE_S / 10]
        same = next((row for row in free if row[-1].name == span.name), None)
        row = same or next(iter(free), None)
        if row is None:
            found.append([span])
        else:
            row.append(span)
    return found


def covered(spans: Iterable[Span]) -> Cover:
    """The time that spans cover together."""
    found: Cover = []
    for start, end in sorted((span.start, ends_of(span)) for span in spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def seconds(cover: Cover) -> float:
    return sum(end - start for start, end in cover)


def without(cover: Cover, other: Cover) -> Cover:
    """The part of a time that another one does not cover."""
    for first, last in other:
        cover = [
            piece for start, end in cover for piece in ((start, min(end, first)), (max(start, last), end)) if piece[0] < piece[1]
        ]  # fmt: skip
    return cover


def shares(lane: str, spans: Sequence[Span], length: float) -> dict[str, float]:
    """Share of the time that a lane spends on each kind of work, rarer kinds first where two overlap; the rest it is idle.

    What a group waits for is work of the reward workers, and none of its engine.
    """
    idle = () if lane == REWARDS else IDLE
    kinds = sorted({span.kind for span in spans} - set(idle), key=lambda kind: (kind in ("generate", "learn"), kind))
    found: dict[str, float] = {}
    taken: Cover = []
    for kind in kinds:
        cover = covered(span for span in spans if span.kind == kind)
        found[kind] = seconds(without(cover, taken)) / max(length, 1e-9)
        taken = covered([Span(lane, "", "", *one) for one in (*taken, *cover)])
    return found
