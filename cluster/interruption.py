"""Ends the work of one thread from another, as Ctrl-C ends that of the main thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Interruption:
    """A request to stop that any thread may make; the work is cancelled, stops what it started, and raises CancelledError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._cancel: Callable[[], object] | None = None

    def ask(self) -> None:
        """Cancel the work that runs now, or the next that begins."""
        with self._lock:
            self._asked = True
            if self._cancel is not None:
                self._cancel()

    async def stoppable(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` in this task, which `ask` cancels."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        with self._lock:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            if self._asked:
                task.cancel()
        try:
            return await work
        finally:
            with self._lock:
                self._cancel = None
