"""Confined Python interpreters, one an episode: `python_session`.

```
run(episode, program) ──► a seat of the episode's own: a thread with a launcher ──► its interpreter, new or as the last program left it
```
At most `most` episodes have a seat. The first call of a further one waits, first come, first served. A seat that comes free keeps its
launcher, whose start costs more than an interpreter's. Everything that a program causes, its own end included, is what the model is shown.
"""

import asyncio
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from reward.held.names import named_by
from reward.programs.launcher_owner import SandboxError
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox, describe_confinement
from reward.programs.session_owner import Printed, Session

POLITE_S, CLOSE_S = 1.0, 10.0  # for a running program to end; for a thread whose sandbox was aborted
LONGEST_PROGRAM = 1 << 20  # characters
Work = Callable[[], None]


class SessionLost(RuntimeError):
    """The interpreter that ran the episode's earlier programs is gone, through no fault of theirs."""


class Seat(threading.Thread):
    """A thread with a sandbox, which serves one episode at a time. It must be a thread: the kernel ends a launcher with its thread."""

    def __init__(self, limits: CodeLimits) -> None:
        super().__init__(name="python-session", daemon=True)
        self._sandbox = Sandbox(limits)
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._session: Session | None = None
        self.done: list[tuple[str, Printed]] = []  # the programs of the present episode, and what came of each
        self.error: SandboxError | None = None  # why the present episode cannot go on

    def run(self) -> None:
        """Work until `end`."""
        try:
            while (work := self._work.get()) is not None:
                work()
        finally:
            self._close()
            self._sandbox.close()

    def ask(self, program: str, earlier: int, caller: "Future[Printed]") -> None:
        """Have a program run after `earlier` others."""

        def work() -> None:
            if not caller.set_running_or_notify_cancel():
                return
            try:
                caller.set_result(self._run_once(program, earlier))
            except Exception as error:  # whatever the sandbox raises is the caller's
                caller.set_exception(error)

        self._work.put(work)

    def clear(self) -> None:
        """End the present episode."""
        self._work.put(self._close)

    def end(self) -> None:
        """End the episode and this thread, and wait for that; a program that runs is aborted."""
        self._work.put(None)
        self.join(POLITE_S)
        if self.is_alive():
            self._sandbox.abort()
            self.join(CLOSE_S)
        if self.is_alive():
            raise RuntimeError(f"a Python session did not end within {CLOSE_S:g} s")

    def _run_once(self, program: str, earlier: int) -> Printed:
        """What came of a program; a call that is asked again runs nothing."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        if earlier < len(self.done) and self.done[earlier][0] == program:
            return self.done[earlier][1]
        if earlier != len(self.done):
            raise SessionLost(f"program {earlier + 1} of an episode came where its interpreter has run {len(self.done)}")
        try:
            self.done.append((program, self._run(program)))
        except SandboxError as error:
            self.error = error
            raise
        return self.done[-1][1]

    def _run(self, program: str) -> Printed:
        if len(program) > LONGEST_PROGRAM:
            return Printed(text=f"[the program was not run: it has {len(program)} characters, more than {LONGEST_PROGRAM}]", ok=False)
        fresh = self._session is not None and self._session.ended
        if self._session is None or fresh:
            if self._session is not None:
                self._session.close()
                self._session = None
            self._session = Session(self._sandbox.launcher, self._sandbox.limits)
        printed = self._session.run(program)
        return Printed(text=printed.text, ok=printed.ok, fresh=fresh)

    def _close(self) -> None:
        self.done, self.error = [], None
        session, self._session = self._session, None
        if session is not None:
            session.close()


class Sessions:
    """The interpreters of one node, used from one event loop. idle_s: an episode that runs nothing for so long loses its interpreter."""

    def __init__(self, limits: CodeLimits, most: int, idle_s: float) -> None:
        self._limits, self._most, self._idle_s = limits, most, idle_s
        self._seats: dict[str, Seat] = {}  # by episode
        self._idle: dict[str, asyncio.TimerHandle] = {}
        self._free: list[Seat] = []
        self._all: list[Seat] = []
        self._waiting: OrderedDict[str, list[asyncio.Future[Seat]]] = OrderedDict()
        self._closed = False

    async def ready(self) -> str:
        """Start one interpreter and run a program; the walls in words. Unconfined, a ValueError, where this machine cannot confine it."""
        return await asyncio.to_thread(describe_confinement, self._limits)

    async def run(self, episode: str, program: str, earlier: int = 0) -> Printed:
        """What the model is shown of a program. earlier: how many programs of this episode have answers already.

        The first program of an episode waits while `most` others have interpreters. SandboxError or SessionLost where the machine is to
        blame: the episode has no reward.
        """
        seat = self._seats.get(episode)
        if seat is None:
            if earlier:
                raise SessionLost(
                    f"the interpreter that ran {earlier} programs of this episode is gone: it was idle, or its owner has ended"
                )
            seat = await self._wait_for_seat(episode)
        self._watch_idle(episode)
        caller: Future[Printed] = Future()
        seat.ask(program, earlier, caller)
        printed = await asyncio.wrap_future(caller)
        self._watch_idle(episode)
        return printed

    async def _wait_for_seat(self, episode: str) -> Seat:
        if self._closed:
            raise RuntimeError("python sessions are closed")
        place: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(episode, []).append(place)
        self._give_seats()
        return await place

    def _give_seats(self) -> None:
        """Give free seats to the episodes that wait."""
        while self._waiting and (self._free or len(self._all) < self._most):
            episode, places = self._waiting.popitem(last=False)
            wanted = [place for place in places if not place.done()]
            if not wanted:  # every caller was cancelled
                continue
            if not self._free:
                self._all.append(Seat(self._limits))
                self._all[-1].start()
                self._free.append(self._all[-1])
            seat = self._seats[episode] = self._free.pop()
            self._watch_idle(episode)
            for place in wanted:
                place.set_result(seat)

    def _watch_idle(self, episode: str) -> None:
        """Start the time again after which an idle episode loses its interpreter."""
        if (before := self._idle.pop(episode, None)) is not None:
            before.cancel()
        if episode in self._seats:
            self._idle[episode] = asyncio.get_running_loop().call_later(self._idle_s, self.leave, episode)

    def leave(self, episode: str) -> None:
        """Nobody will run programs for this episode again; of a name that ends in "/", for any that begins with it."""
        for one in named_by(episode, (*self._seats, *self._waiting)):
            self._leave(one)

    def _leave(self, episode: str) -> None:
        for place in self._waiting.pop(episode, ()):
            if not place.done():
                place.set_exception(SessionLost("the episode was left before it had an interpreter"))
        if (timer := self._idle.pop(episode, None)) is not None:
            timer.cancel()
        if (seat := self._seats.pop(episode, None)) is not None:
            seat.clear()
            self._free.append(seat)
            self._give_seats()

    async def close(self) -> None:
        """End every interpreter and every thread; waiting callers get a RuntimeError. May be repeated."""
        self._closed = True
        for places in self._waiting.values():
            for place in places:
                if not place.done():
                    place.set_exception(RuntimeError("python sessions are closed"))
        self._waiting.clear()
        for timer in self._idle.values():
            timer.cancel()
        self._idle.clear()
        self._seats.clear()
        self._free.clear()
        seats, self._all = self._all, []
        await asyncio.gather(*(asyncio.to_thread(seat.end) for seat in seats))
