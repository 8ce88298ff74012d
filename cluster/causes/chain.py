"""Walks the driver's exceptions from the one that ended the program back to the one that ended the run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from types import TracebackType

from cluster.causes.roles import BehindARole

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / folder}/" for folder in ("configs", "rollout", "reward", "learner", "cluster", "gatewise"))


def back_from(error: BaseException) -> Iterator[BaseException]:
    """`error` and, one after another, the errors behind it: in exception groups the first, in Ray's wrappers what the actor raised.

    An error of a clean-up stands in front of the error that ended the run, which is its context. An error that is raised while another is
    handled has a context too, but there the outer one is meant. So a context counts only if the error was raised on leaving a `with`, and
    our code let the context pass.
    """
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = _behind(at)


def first_cause(error: BaseException) -> BaseException:
    """The error that ended the run."""
    return list(back_from(error))[-1]


def _behind(error: BaseException) -> BaseException | None:
    context = error.__context__
    if isinstance(context, Exception) and not error.__suppress_context__ and _on_leaving(error.__traceback__, context.__traceback__):
        return context
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    inner = getattr(error, "cause", None)  # of Ray's wrapper
    if isinstance(inner, BaseException):
        return inner
    behind = error.__cause__ if isinstance(error, BehindARole) else None
    return None if isinstance(behind, asyncio.CancelledError) else behind


def raised_by_us(error: BaseException) -> bool:
    """Whether our own code raised it, so that its message is meant for the user."""
    frames = list(walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_code.co_filename.startswith(OURS)


def _on_leaving(raised: TracebackType | None, passed: TracebackType | None) -> bool:
    """Whether an error was raised on leaving a `with`, through which another one had passed our code."""
    if passed is None or not passed.tb_frame.f_code.co_filename.startswith(OURS):
        return False
    return any(frame.f_code.co_name in ("__exit__", "__aexit__") for frame, _ in walk_tb(raised))
