"""Whether a process still answers: it is pinged until it has died, or has been silent for too long."""

import asyncio
from collections.abc import Awaitable, Callable

EVERY_S = 2.0


class Silent(Exception):
    """A process that is alive answered no ping in time: it is stopped, or its machine is."""


async def until_lost(ping: Callable[[], Awaitable[object]], stall_s: float) -> BaseException:
    """Ping until an answer fails or does not come within `stall_s`; the error of the ping, or Silent."""
    while True:
        asked = asyncio.ensure_future(ping())
        try:
            await asyncio.wait([asked], timeout=stall_s)
            if not asked.done():
                return Silent(f"no answer within {stall_s:g} s")
        finally:
            asked.cancel()
        if (error := asked.exception()) is not None:
            return error
        await asyncio.sleep(min(EVERY_S, stall_s / 2))
