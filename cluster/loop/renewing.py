"""Work that waits for engines, where every engine that has proven its weights may die."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cluster.actors.engines import EnginePool

T = TypeVar("T")


async def renewing(engines: EnginePool, publish: Callable[[], Awaitable[object]], work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns. Whenever only engines are left that no publish has proven, `publish` is called beside it.

    Without it, work and engines would wait for each other: the next publish only follows the work. A publish that has begun is finished
    before this returns, since ranks that still send must not learn.
    """
    working = asyncio.ensure_future(work())
    stranded = asyncio.ensure_future(engines.stranded())
    try:
        while True:
            await asyncio.wait((working, stranded), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return await working
            await stranded
            await publish()
            stranded = asyncio.ensure_future(engines.stranded())
    finally:
        for task in (working, stranded):
            task.cancel()
        await asyncio.wait((working, stranded))
