"""A request to end a run early: asked by Ctrl-C, by SIGTERM or from another thread, answered by the training loop.

start, generate, evaluate ──► cancelled at once          learn, publish, record, save ──► finished first
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """A stop was asked for, and the work that it does not wait for has been cancelled."""


class Stop:
    """One request to stop one run; it cannot be taken back."""

    def __init__(self) -> None:
        self.asked = False
        self.heard = False  # from the start of the actors on: a stop before ends the process like any interrupt
        self.then = "stopping at once"  # what a stop does now, as the user reads it
        self._late = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self._hear: Callable[[], None] = self._event.set

    @property
    def listening(self) -> bool:
        """Whether a loop runs that answers the request."""
        return self._loop is not None

    def ask(self) -> None:
        """Ask for the stop. Any thread and any signal handler may call it."""
        self.asked = True
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(self._hear)

    @contextmanager
    def answered(self, say: Callable[[str], None], within_s: float) -> Iterator[None]:
        """Within: the running task answers the request. It is cancelled, with a TimeoutError, `within_s` seconds after the request."""
        loop, task, timers = asyncio.get_running_loop(), asyncio.current_task(), []
        assert task is not None

        def give_up() -> None:
            self._late = True
            task.cancel()

        def hear() -> None:
            if not self._event.is_set():
                self._event.set()
                timers.append(loop.call_later(within_s, give_up))
                say(f"{self.then}; Ctrl-C again ends at once")

        self._hear, self._loop, self.heard = hear, loop, True
        if self.asked:
            hear()
        try:
            yield
        except asyncio.CancelledError:
            if not self._late:
                raise
            raise TimeoutError(
                f"the run did not stop within run.stop_s ({within_s:g} s), so it was ended without another checkpoint: raise run.stop_s "
                "if an update or a save takes longer"
            ) from None
        finally:
            self._loop = None
            for timer in timers:
                timer.cancel()

    async def cuts(self, work: Awaitable[T]) -> T:
        """The result of `work`. When a stop is asked for before, `work` is cancelled and Stopped is raised."""
        if self.asked:
            if isinstance(work, Coroutine):
                work.close()
            raise Stopped
        working, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Stopped
            return await working
        finally:
            asked.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait((working,))


class StopSignals:
    """Turns signals into a stop.

    While no loop answers, a signal raises KeyboardInterrupt. So does Ctrl-C after a first signal. A second SIGTERM does not: `timeout` and
    Slurm may send two at once, and send SIGKILL when they lose patience.
    """

    def __init__(self) -> None:
        self.stop = Stop()
        self.first: signal.Signals | None = None

    @property
    def status(self) -> int:
        """The exit status of a process that the first signal stopped, as shells count it."""
        return 128 + (self.first or signal.SIGINT)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within: take over the signals. Call it in the main thread: Python sets signal handlers nowhere else.

        Background commands start with SIGINT ignored, which this undoes. A SIGHUP that `nohup` ignores stays ignored.
        """
        mine = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._receive) for number in mine}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        first, self.first = self.first, self.first or signal.Signals(number)
        if first is not None and number != signal.SIGINT:
            return
        if first is None and self.stop.listening:
            self.stop.ask()
            return
        raise KeyboardInterrupt
