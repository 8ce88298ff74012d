"""Calling an exchange back: how a member that waits in its transfer group learns that the wait is in vain.

    driver ── "called back" ──► store on the learner's first rank ◄── every member asks, several times a second
                                     │
                                     └── the store is gone: the first rank has died, so the exchange is over too

A member that can ask while it waits does so itself. One that is stuck inside a library has a watch: a thread that asks, and ends the wait.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch.distributed import PrefixStore

from rollout.transfer.meeting import open_store
from rollout.transfer.transport import Rendezvous

CALLED_BACK = "called back"
ASK_S = 0.02  # between the questions of a member that waits for a key
WATCH_S = 0.2  # between those of a watch
REACH_S = 5.0  # for the driver to reach the store
SILENT_S = 60.0  # after which a store that answers nothing is gone: its machine is, or its process is stopped


class CalledBack(RuntimeError):
    """This member gave up its wait in an exchange; another member is to blame."""


class ExchangeBroken(RuntimeError):
    """A worker of an engine failed in an exchange, or was called back from it."""


class Questions:
    """Asks a store from a thread of its own: an answer that never comes would block the caller."""

    def __init__(self, store: Any) -> None:
        self.silent = False
        self.keys: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[bool | RuntimeError] = queue.SimpleQueue()
        threading.Thread(target=answer, args=(store, self.keys, self.answers), daemon=True, name="questions to a store").start()

    def __del__(self) -> None:
        self.keys.put(None)

    def ask(self, key: str) -> bool:
        """Whether the store has the key; RuntimeError if the store is gone or silent."""
        if not self.silent:
            self.keys.put(key)
            try:
                found = self.answers.get(timeout=SILENT_S)
            except queue.Empty:
                self.silent = True  # for good: an answer that comes late would be taken for that to the next question
        if self.silent:
            raise RuntimeError(f"no answer for {SILENT_S:g} s")
        if isinstance(found, RuntimeError):
            raise found
        return found


def answer(store: Any, keys: "queue.SimpleQueue[str | None]", answers: "queue.SimpleQueue[bool | RuntimeError]") -> None:
    """The thread's work: each key in, whether the store has it out."""
    while (key := keys.get()) is not None:
        try:
            answers.put(store.check([key]))
        except RuntimeError as error:
            answers.put(error)


class Line:
    """One member's connection to the store of its transfer group."""

    def __init__(self, store: Any, name: str, deadline_s: float) -> None:
        """`store` is a TCPStore, whose type lacks `clone`."""
        self.name, self.deadline_s = name, deadline_s
        self.store = PrefixStore(name, store)
        # A connection of its own: a question on a busy one waits until the store has answered the one before.
        self.questions = Questions(PrefixStore(name, store.clone()))

    def meet(self, world: int) -> None:
        """Wait until all members of the group have come; raises CalledBack."""
        if self.store.add("here", 1) == world:
            self.store.set("complete", "")
        self.wait("complete", "the other members to join")

    def wait(self, key: str, what: str) -> bytes:
        """The value of `key` once a member has set it; raises CalledBack once it is called back, and past the deadline."""
        until = time.monotonic() + self.deadline_s
        while not self._has(key, what):
            if reason := self.reason(until):
                raise CalledBack(f"waited for {what}: {reason}")
            time.sleep(ASK_S)
        value: bytes = self.store.get(key)
        return value

    def _has(self, key: str, what: str) -> bool:
        try:
            return self.questions.ask(key)
        except RuntimeError as error:
            raise CalledBack(f"waited for {what}: {self._gone(error)}") from error

    def _gone(self, error: RuntimeError) -> str:
        return f"the store of '{self.name}' is gone, and with it the learner's first rank ({str(error).splitlines()[0]})"

    def reason(self, until: float) -> str:
        """Why the exchange is over, if it is; `until` is its deadline on the monotonic clock."""
        try:
            called_back = self.questions.ask(CALLED_BACK)
        except RuntimeError as error:
            return self._gone(error)
        if called_back:
            return "the publish was called back, as another member is lost"
        return f"no end within {self.deadline_s:g} s" if time.monotonic() > until else ""

    @contextmanager
    def watch(self, give_up: Callable[[str], object], fault: Callable[[], str] = str) -> Iterator[None]:
        """Within it a thread calls `give_up` with the reason once the exchange is over before its end, or `fault` names one."""
        ended, deciding = threading.Event(), threading.Lock()
        until = time.monotonic() + self.deadline_s

        def look() -> None:
            while not ended.wait(WATCH_S):
                reason = self.reason(until) or fault()
                with deciding:
                    if reason and not ended.is_set():
                        give_up(reason)
                        return

        thread = threading.Thread(target=look, daemon=True, name=f"watch of {self.name}")
        thread.start()
        try:
            yield
        finally:
            with deciding:
                ended.set()


def call_back(meeting: Rendezvous) -> None:
    """For the driver: end the waits of all members of a group."""
    with suppress(OSError, RuntimeError):  # a store that ends meanwhile ends the waits too
        store = open_store(meeting.host, meeting.port, meeting.world_size, REACH_S)
        PrefixStore(meeting.name, store).set(CALLED_BACK, "")
