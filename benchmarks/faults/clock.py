"""An asyncio loop whose time is virtual: it jumps to the next timer as soon as nothing can run, so hours of waiting pass in an instant."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Every task waits for something that nobody will do, and no timer is set."""


class JumpingSelector(selectors.SelectSelector):
    """Waits for no time at all, and adds the time that it was to wait to `now`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks in virtual time. Work for threads is done at once in the loop's own thread, so the same tasks run in the same order."""

    def __init__(self) -> None:
        self.clock = JumpingSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Call `func` now; the future already has its result."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # the awaiting task raises it, as with a thread
            done.set_exception(error)
        return done


def run_virtually(work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    """The result of a coroutine function run in virtual time, and the virtual seconds it took; Deadlock if it can never end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        result = runner.run(work())
        return result, loop.time()
