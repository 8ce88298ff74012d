"""Entries of a database that a full disk did not take: they wait in memory, in their order, and go first once there is room.

A checkpoint is committed only after the last of them is written (`clear`). So nothing that a run continues from can lack an entry: those
that are lost with the process belong to steps that a resumed run learns again.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from configs.arithmetic import counted

P = ParamSpec("P")
PRIMARY = 0xFF  # SQLite's extended codes keep the primary one in their lowest byte


class Backlog:
    """The calls that wait."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], object]] = deque()
        self.error: sqlite3.OperationalError | None = None  # of the last try

    def add(self, call: Callable[[], object]) -> None:
        """Make a call, or keep it if the disk is full; anything else that it raises is raised."""
        self.waiting.append(call)
        self.try_again()

    def try_again(self) -> None:
        """Make the calls that wait until one finds the disk full."""
        while self.waiting:
            call = self.waiting.popleft()
            try:
                call()
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                self.waiting.appendleft(call)
                self.error = error
                return

    def clear(self) -> None:
        """Make all calls; raises if one still has to wait."""
        self.try_again()
        if self.waiting and self.error is not None:
            raise self.error

    def complaint(self, name: str) -> str:
        """How much waits; empty if nothing does."""
        if not self.waiting:
            return ""
        return f"{counted(len(self.waiting), 'row')} of {name} cannot be written and stay in memory until they can be ({self.error})"


class HasBacklog(Protocol):
    """Whose methods may have to wait."""

    backlog: Backlog


S = TypeVar("S", bound=HasBacklog)


def waits_for_room(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """A method that writes all or nothing: where the disk is full, it is called again later, after those that wait already.

    It must change nothing but the database, since a call may be made several times.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        kept: Any = [tuple(arg) if isinstance(arg, Iterator) else arg for arg in args]  # an iterator could be read once only
        self.backlog.add(partial(method, self, *kept, **kwargs))

    return call


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk did not take a write: it is full, a quota is reached, or it failed."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & PRIMARY in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
