"""An exchange in which members wait for each other, and which of them to blame when it fails.

Once one member fails the others are called back, so they fail too. Burying them all would end a run that has healthy engines left. So blame
goes to those that died, else to those that never answered, else to the first to abort.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from cluster.actors.died import has_died
from cluster.actors.fleet.handle import EngineGone, EngineHandle
from cluster.causes.roles import RoleLate
from cluster.causes.tracebacks import one_line

NOTICE_S = 0.3  # in which members notice by themselves that their connection to a dead one is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One member's failure at one stage."""

    who: Any  # the caller's own name or handle of the member
    error: BaseException
    late: bool  # it never answered
    buried: bool = False  # it was taken out of service during the call
    at: float  # on the monotonic clock

    @property
    def died(self) -> bool:
        return self.buried or has_died(self.error)


async def answer(engine: EngineHandle | None, call: Awaitable[Any], deadline_s: float = inf) -> Any:
    """What `call` returns, or the Failure of the engine: it raises, it is late, or it is taken out of service meanwhile.

    Without an engine the call is the learner's, and has its own deadline.
    """
    asked = asyncio.ensure_future(call if engine is None else engine.answer(call, deadline_s))
    try:
        await asyncio.wait([asked])
    finally:
        asked.cancel()
    error = asked.exception()
    if error is None:
        return asked.result()
    buried = isinstance(error, EngineGone)
    cause = engine.cause if buried and engine is not None and engine.cause is not None else error
    # Ray gives remote errors a class that also derives from the cause's, so a remote TimeoutError is not exactly one.
    return Failure(who=engine, error=cause, late=type(error) in (TimeoutError, RoleLate), buried=buried, at=time.monotonic())


async def exchanged(calls: Sequence[Awaitable[Any]], call_back: Callable[[], Awaitable[object]]) -> list[Any]:
    """What `answer` returns for each member, in order. Once one has failed, the others are called back from their wait for it."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    waiting, calling = set(tasks), None
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if waiting and calling is None and any(isinstance(task.result(), Failure) for task in done):
                calling = asyncio.ensure_future(_after(NOTICE_S, call_back))
        return [task.result() for task in tasks]
    finally:
        for task in [*tasks, calling]:
            if task is not None:
                task.cancel()


async def _after(seconds: float, call: Callable[[], Awaitable[object]]) -> None:
    await asyncio.sleep(seconds)
    await call()


def culprits(failures: Sequence[Failure]) -> list[Failure]:
    """The failures that caused the other failures, among members that waited for each other."""
    if died := [failure for failure in failures if failure.died]:
        return died
    if late := [failure for failure in failures if failure.late]:
        return late
    return sorted(failures, key=lambda failure: failure.at)[:1]


def last_line(error: BaseException) -> str:
    """The error in one line: Ray wraps a remote traceback, whose last line is the error itself."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    # After its first sentence Ray lists everything that may have killed a process.
    return one_line(lines[-1].partition(" Worker exit type:")[0], 200) if lines else type(error).__name__
