"""Signs that an engine makes progress, counted while it works: nothing is asked of the engine core while it generates.

generating          a step of the core that made tokens, read a prompt or changed its queue
idle or paused      an answer of the core to a question that costs nothing
in an update        none: the core waits in a collective, which has a deadline of its own; only a stopped process is seen
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict

import psutil

MOST_WAITS = 100  # stretches of a group whose place in time is known; later ones count in the sum alone

Queue = tuple[int, int, float]  # requests that run, requests that wait, share of the cache in use


class Pulse(TypedDict, total=False):
    """What an engine says of itself at one moment. Counters only grow."""

    tokens: int  # generated so far
    steps: int  # of the core, those that did some work
    beats: int  # answers of the core while it generated nothing
    requests: int  # in flight
    generating: int  # groups
    answering: int  # groups whose unfinished responses all wait for an environment or a tool
    scoring: int  # groups whose responses are all generated
    paused: bool
    updating: bool  # in a collective of a publish
    stopped: bool  # a process of the core is stopped, as SIGSTOP does
    slowest: tuple[int, float, int] | None  # the group asked for first, its age in seconds, tokens of its finished responses


@dataclass
class Work:
    """Counts the work of an engine core from what it reports after each of its steps."""

    tokens: int = 0
    steps: int = 0
    beats: int = 0
    queue: Queue = (0, 0, 0.0)

    def step(self, made: int, read: int, queue: Queue) -> None:
        """One step that made `made` tokens and finished reading `read` tokens of prompts. A core that turns in circles changes nothing."""
        if made or read or queue != self.queue:
            self.steps += 1
        self.tokens += made
        self.queue = queue


@dataclass(eq=False)
class GroupAtWork:
    """A group that an engine was asked for and has not returned."""

    group_id: int
    evaluated: bool
    end: Callable[[], object] = int  # ends the work on it, once that has begun
    since: float = field(default_factory=time.monotonic)
    tokens: int = 0  # of its finished responses
    scoring: bool = False
    working: int = 0  # responses that are not finished
    answering: int = 0  # of those, the ones that wait for an environment or a tool
    answering_s: float = 0.0  # in which all of them waited, so that the engine had nothing to do for this group
    answered: list[tuple[float, float]] = field(default_factory=list)  # these stretches, in seconds since `since`
    _idle_since: float | None = None

    def finished(self, tokens: int) -> None:
        """One response is finished."""
        self.working, self.tokens = self.working - 1, self.tokens + tokens
        self._count()

    @contextmanager
    def answers(self) -> Iterator[None]:
        """While one response waits for an answer."""
        self.answering += 1
        self._count()
        try:
            yield
        finally:
            self.answering -= 1
            self._count()

    @property
    def waits(self) -> bool:
        """Whether the engine has nothing to do for it until an environment answers."""
        return 0 < self.working == self.answering

    def _count(self) -> None:
        now = time.monotonic()
        if self._idle_since is not None:
            self.answering_s += now - self._idle_since
            if now > self._idle_since and len(self.answered) < MOST_WAITS:
                self.answered.append((self._idle_since - self.since, now - self.since))
        self._idle_since = now if self.waits else None


def describe_groups(groups: Iterable[GroupAtWork]) -> Pulse:
    """The part of a pulse that describes groups."""
    known = sorted(groups, key=lambda group: group.since)
    slowest = known[0] if known else None
    scoring, answering = sum(group.scoring for group in known), sum(group.waits for group in known)
    return {
        "generating": len(known) - scoring - answering,
        "answering": answering,
        "scoring": scoring,
        "slowest": (slowest.group_id, time.monotonic() - slowest.since, slowest.tokens) if slowest else None,
    }


def any_stopped(pids: Iterable[int]) -> bool:
    """Whether one of these processes or of their children is stopped."""
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            if any(member.status() == psutil.STATUS_STOPPED for member in family):
                return True
        except psutil.NoSuchProcess:
            continue  # it has ended, which the core watch notices
    return False
