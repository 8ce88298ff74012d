"""Results that must be awaited: one event loop a process, which stays open between calls, so that a client in it stays usable."""

import inspect
import os
from collections.abc import Awaitable
from typing import Any


class Loop:
    """Waits for awaitables one after the other."""

    def __init__(self) -> None:
        self._runner: Any = None  # an asyncio.Runner
        self._pid = 0

    def result(self, value: object) -> object:
        """The value itself, awaited where it is awaitable. A forked process makes a loop of its own."""
        if not inspect.isawaitable(value):
            return value
        if self._runner is None or self._pid != os.getpid():
            from asyncio import Runner  # here, as few workers await anything, and all would start later by its import

            self._runner, self._pid = Runner(), os.getpid()
        found: object = self._runner.run(awaited(value))
        return found

    def close(self) -> None:
        """End the loop, with its threads; a later result opens another."""
        if self._runner is not None and self._pid == os.getpid():
            self._runner.close()
        self._runner = None


async def awaited(value: Awaitable[Any]) -> Any:
    return await value
