"""The items of one caller of the pool, and their verdicts as they come in, from any thread."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from reward.episodes.transcript import Transcript
from reward.pool_tool import TOOL
from rollout.types import Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One response to be scored."""

    checker: str  # a name of reward.checkers, or "package.module:function"
    response: str
    reference: Any  # for the checker to compare with; a JSON value
    prompt: str = ""  # as the model read it, for the checkers that are services
    question: str = ""  # the same in plain words; empty where they are the same
    fields: Mapping[str, Any] = field(default_factory=dict)  # by the names of `reward.own.signature.FIELDS`, for the user's functions
    group: Sequence[str] = ()  # of those fields the one that all responses of a group share, as one object
    transcript: Transcript | None = None  # in place of the response, for a function of the user's that yields
    of_reference: bool = False  # nothing is scored: the user's function says whether the reference can be used, and a right response

    @property
    def work(self) -> str:
        """What is asked for, in words, for the message of a worker that is late with it."""
        if self.checker.startswith(TOOL):
            return "answer a call"
        return "answer a turn" if self.transcript is not None and not self.transcript.score else "score the response"


class Call:
    """The items of one caller; `future` gets their verdicts, in the order of the items, when the last has come."""

    def __init__(self, size: int) -> None:
        self.future: Future[list[Verdict]] = Future()
        self._verdicts: dict[int, Verdict] = {}
        self._size = size
        self._lock = threading.Lock()
        self._ended = False

    @property
    def over(self) -> bool:
        """Whether nobody waits any more: all verdicts have come, or the caller was cancelled or got an error."""
        return self._ended or self.future.cancelled()

    def settle(self, index: int, verdict: Verdict) -> None:
        with self._lock:
            assert index not in self._verdicts, f"item {index} was scored twice"
            self._verdicts[index] = verdict
            if len(self._verdicts) == self._size and self._end():
                self.future.set_result([self._verdicts[i] for i in range(self._size)])

    def fail(self, error: Exception) -> None:
        with self._lock:
            if self._end():
                self.future.set_exception(error)

    def _end(self) -> bool:
        """Whether the future may be filled now: true once at most, and never after the caller was cancelled."""
        if self._ended:
            return False
        self._ended = True
        return self.future.set_running_or_notify_cancel()


@dataclass(slots=True, kw_only=True)
class Task:
    """An item on its way through the pool."""

    call: Call
    index: int  # the item's place in its call
    item: Item
    head: str  # the item in JSON, as it is sent
    group: str = ""  # the end of the JSON, one object for all responses of a group: a copy each would take the square of its size
    crashes: int = 0  # workers that died while they scored it
    starved: bool = False  # ran at idle priority and got almost no CPU: retry at normal priority
    losses: int = 0  # templates that died while it was scored

    @property
    def payload(self) -> str:
        """The item in JSON."""
        return f"{self.head}{self.group}" if self.group else self.head

    def settle(self, verdict: Verdict) -> None:
        self.call.settle(self.index, verdict)

    def fail(self, outcome: Outcome, failure: str) -> None:
        self.settle(Verdict.failed(outcome, failure))
