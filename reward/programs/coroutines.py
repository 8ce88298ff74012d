"""Coroutines of a program, which run to their end in its own process, in an event loop that stays open between them."""

import functools
import inspect
from collections.abc import Awaitable
from types import CoroutineType
from typing import Any


def is_coroutine(value: object) -> bool:
    return type(value) is CoroutineType


@functools.cache
def runner() -> Any:
    """The event loop of this process."""
    import asyncio  # most programs need none, and its import takes longer than they do

    return asyncio.Runner()


def result_of(value: Any) -> Any:
    """What an awaitable returns; a value of another type is its own result."""
    return runner().run(awaited(value)) if inspect.isawaitable(value) else value


async def awaited(value: Awaitable[Any]) -> Any:
    return await value
