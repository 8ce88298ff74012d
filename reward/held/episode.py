"""One held episode: what its world has heard and answered, so that a question that is asked again gets the same answer."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from reward.held.protocol import Step
from rollout.types import Outcome, Verdict

Result = Step | Verdict  # what the world did, or why the episode has no reward
Results = tuple[Result, ...]  # of every line so far; the last one is of the line that was asked about
Heard = str | None  # what the model said in a turn; None: it has no further turn
OTHER = "error: the episode was asked about with another transcript than its world has heard"
GONE = (
    "crash: the world of this episode is gone: it was ended as idle or left, or the process that owned it has ended. "
    "A held world cannot be run again from the transcript"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a world is started with."""

    checker: str
    reference: str  # as JSON
    fields: str  # as JSON: what a function of the user's may ask for
    agent: bool = False  # one step that lasts as long as its episode; who answers its requests has its deadlines


class Episode:
    """An episode. `line` is the place in `heard` that has no result yet, and `waiting` are its callers."""

    def __init__(self, name: str, beginning: Beginning) -> None:
        self.name, self.beginning = name, beginning
        self.heard: list[Heard] = []
        self.results: list[Result] = []
        self.waiting: list[Future[Results]] = []
        self.serial: int | None = None  # of its world, once it has one

    @property
    def over(self) -> bool:
        """Whether its last result ends it."""
        return bool(self.results) and ends(self.results[-1])

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for the result of the newest line."""
        return any(not caller.cancelled() for caller in self.waiting)

    def ask(self, words: Sequence[Heard], caller: Future[Results]) -> bool:
        """Take in a question with all that the world should have heard; True where the last entry is new to the world.

        A question that was answered gets the same answer, one that is being answered waits with the earlier caller.
        """
        known = len(self.heard)
        if list(words[:known]) != self.heard[: len(words)]:
            give(caller, (Verdict.failed(Outcome.UNSCORABLE, OTHER),))
        elif len(words) <= len(self.results):
            give(caller, tuple(self.results[: len(words)]))
        elif self.over:
            give(caller, tuple(self.results))
        elif len(words) == known:
            self.waiting.append(caller)
        elif len(words) == known + 1 and len(self.results) == known:
            self.heard.append(words[-1])
            self.waiting = [caller]
            return True
        else:
            give(caller, (Verdict.failed(Outcome.UNSCORABLE, OTHER),))
        return False

    def settle(self, result: Result) -> None:
        """The newest line has its result; a failure may also come while no line waits for one."""
        self.results.append(result)
        callers, self.waiting = self.waiting, []
        for caller in callers:
            give(caller, tuple(self.results))


def ends(result: Result) -> bool:
    """Whether the episode goes no further."""
    return isinstance(result, Verdict) or result.ends


def give(caller: Future[Results], results: Results) -> None:
    """Fill a caller's future, unless the caller was cancelled."""
    if not caller.done() and caller.set_running_or_notify_cancel():
        caller.set_result(results)
