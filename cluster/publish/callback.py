"""How the driver reaches members of a transfer group that stand in an exchange and answer no call."""

import asyncio
from collections.abc import Awaitable, Callable
from socket import create_connection

from rollout.transfer.transport import Rendezvous

REACH_S = 5.0
CallBack = Callable[[Rendezvous], Awaitable[object]]


async def by_store(meeting: Rendezvous) -> None:
    """Say it in the group's store, where every member asks. A store that is gone says it too."""
    await asyncio.to_thread(_say, meeting)


def _say(meeting: Rendezvous) -> None:
    try:
        create_connection((meeting.host, meeting.port), REACH_S).close()
    except OSError:
        return
    from rollout.transfer.recall import call_back  # imports torch, which only a broken exchange is worth

    call_back(meeting)
