"""A request to end a run early: asked by Ctrl-C, by SIGTERM or from another thread, answered by the training loop.

start, generate, evaluate ──► cancelled at once          learn, publish, record, save ──► finished first

After SIGTERM with `run.grace_s`, a step that would leave no time to save is cut:

    SIGTERM ── finish the step ──► cut ── save the newest finished step ──► give up ── actors end ──► SIGKILL by whoever sent it
                                    └───── needed to save ─────┘                └─ margin ─┘
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from configs.errors import DeadlineExceeded

T = TypeVar("T")
MARGIN, MOST_MARGIN_S = 0.2, 10.0  # share of run.grace_s, and the most of it, in which actors and Ray end
SLOWER = 1.5  # times that a save may take longer than the last one
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """A stop was asked for, and the work that it does not wait for has been cancelled."""


class Stop:
    """One request to stop one run; it cannot be taken back."""

    def __init__(self) -> None:
        self.asked = False
        self.heard = False  # from the start of the actors on: a stop before ends the process like any interrupt
        self.then = "stopping at once"  # what a stop does now, as the user reads it
        self.hurried = False  # the sender of the signal will kill the process soon
        self.cut = False  # the step under way was cancelled, so that there is time to save the one before it
        self.needed_s: float | None = None  # that the newest save took; None before the first one
        self._late = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event, self._out_of_time = asyncio.Event(), asyncio.Event()
        self._hear: Callable[[], None] = self._event.set

    @property
    def listening(self) -> bool:
        """Whether a loop runs that answers the request."""
        return self._loop is not None

    def ask(self, *, hurried: bool = False) -> None:
        """Ask for the stop. Any thread and any signal handler may call it. A hurried one may follow one that was not."""
        self.asked = True
        self.hurried = self.hurried or hurried
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(self._hear)

    @contextmanager
    def answered(self, say: Callable[[str], None], within_s: float, grace_s: float | None = None) -> Iterator[None]:
        """Within: the running task answers the request. It is cancelled, with a DeadlineExceeded, `within_s` seconds after the request.

        A hurried request has `grace_s` seconds until the process ends.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        timers: dict[str, asyncio.TimerHandle] = {}  # by what bounds the stop

        def give_up() -> None:
            self._late = True
            task.cancel()

        def hear() -> None:
            self._event.set()
            if self.hurried and grace_s is not None:
                if "run.grace_s" not in timers:
                    end = grace_s - min(MOST_MARGIN_S, MARGIN * grace_s)
                    needed = grace_s / 2 if self.needed_s is None else SLOWER * self.needed_s
                    timers["cut"] = loop.call_later(max(0.0, end - needed), self._out_of_time.set)
                    timers["run.grace_s"] = loop.call_later(end, give_up)
                    say(f"{self.then}; within run.grace_s ({grace_s:g} s), or else the newest finished step is saved")
            elif "run.stop_s" not in timers:
                timers["run.stop_s"] = loop.call_later(within_s, give_up)
                say(f"{self.then}; Ctrl-C again ends at once")

        self._hear, self._loop, self.heard = hear, loop, True
        if self.asked:
            hear()
        try:
            yield
        except asyncio.CancelledError:
            if not self._late:
                raise
            raise DeadlineExceeded(_too_late(within_s, grace_s if "run.grace_s" in timers else None)) from None
        finally:
            self._loop = None
            for timer in timers.values():
                timer.cancel()

    async def cuts(self, work: Awaitable[T]) -> T:
        """The result of `work`. When a stop is asked for before, `work` is cancelled and Stopped is raised."""
        if self.asked:
            if isinstance(work, Coroutine):
                work.close()
            raise Stopped
        return await _unless(self._event, work)

    async def finishes(self, work: Awaitable[T]) -> T:
        """The result of `work`, for which a stop waits as long as there is time. Then `work` is cancelled and Stopped is raised."""
        try:
            return await _unless(self._out_of_time, work)
        except Stopped:
            self.cut = self._out_of_time.is_set()
            raise


async def _unless(event: asyncio.Event, work: Awaitable[T]) -> T:
    """The result of `work`. When the event comes before, `work` is cancelled and Stopped is raised."""
    working, asked = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
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


def _too_late(within_s: float, grace_s: float | None) -> str:
    if grace_s is not None:
        return (
            f"no save was finished within run.grace_s ({grace_s:g} s), so the run was ended with the checkpoints that it has: raise "
            "run.grace_s, if the one who sends SIGTERM waits longer, or lower run.save_every"
        )
    return (
        f"the run did not stop within run.stop_s ({within_s:g} s), so it was ended without another checkpoint: raise run.stop_s "
        "if an update or a save takes longer"
    )


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
        if self.stop.listening and (first is None or number == signal.SIGTERM):
            self.stop.ask(hurried=number == signal.SIGTERM)
            return
        if first is not None and number != signal.SIGINT:
            return
        raise KeyboardInterrupt
