"""An asyncio loop whose time is virtual: it jumps to the next timer as soon as nothing can run, so hours of waiting pass in an instant."""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Every task waits for something that nobody will do, and no timer is set."""


class Overdue(RuntimeError):
    """The tasks still wait when the last second that they were given is over."""


class Killed(BaseException):
    """The process of the loop is killed: nothing that it still had to do is done."""


class JumpingSelector(selectors.SelectSelector):
    """Waits for no time at all, and adds the time that it was to wait to `now`."""

    def __init__(self, end: float = float("inf")) -> None:
        super().__init__()
        self.now, self.end = 0.0, end

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self.now += timeout
        if self.now > self.end:
            raise Overdue(f"tasks still wait after {self.end:g} virtual seconds")
        return ready


class Turns(deque[Any]):
    """The callbacks that are ready to run. It counts them, and calls `strike` before the one of number `due`, which may raise Killed.

    Between two callbacks lies every point at which a task awaits.
    """

    done, due = 0, 0
    strike: Callable[[], object]

    def popleft(self) -> Any:
        """The next callback."""
        self.done += 1
        if self.done == self.due:
            self.strike()
        return super().popleft()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks in virtual time. Work for threads is done at once in the loop's own thread, so the same tasks run in the same order."""

    def __init__(self, end: float = float("inf")) -> None:
        """Overdue is raised at `end` virtual seconds."""
        self.clock = JumpingSelector(end)
        super().__init__(self.clock)
        self.turns = self._ready = Turns()

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


def run_virtually(work: Callable[[], Coroutine[Any, Any, T]], end: float = float("inf")) -> tuple[T, float]:
    """The result of a coroutine function run in virtual time, and the virtual seconds it took.

    Deadlock if it can never end, Overdue if it lasts longer than `end`.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(end)) as runner:
        loop = runner.get_loop()
        result = runner.run(work())
        return result, loop.time()
