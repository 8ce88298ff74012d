"""One connection to an MCP server, held open by a task of its own: the client library wants one task to enter it and to leave it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from reward.services.secret import Secret
from reward.tools.mcp_transport import connected
from reward.tools.name import ServerName

CLOSE_S = 10.0
START_S = 60.0  # for a command to start and to answer, which imports much
CLOSED, TIMED_OUT = -32000, -32001  # of the client library, in place of an answer


class LinkLost(Exception):
    """The server gave no answer; the text says why. `sent`: it may have got the request. `late`: it was too slow."""

    def __init__(self, why: str, *, sent: bool, late: bool = False) -> None:
        super().__init__(why)
        self.sent, self.late = sent, late


class Link:
    """A connection from the moment that it is made until it breaks or is closed."""

    def __init__(self, server: ServerName, secret: Secret, variable: str | None, timeout_s: float) -> None:
        self._timeout_s = max(timeout_s, START_S) if server.command else timeout_s
        self._client: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._why = "the connection ended"
        self._host = asyncio.create_task(self._hold(server, secret, variable))

    @property
    def over(self) -> bool:
        return self._host.done() or self._stop.is_set()

    async def _hold(self, server: ServerName, secret: Secret, variable: str | None) -> None:
        """Hold the connection open. Whatever the library raises ends it and is its cause."""
        try:
            async with connected(server, secret, variable, self._timeout_s) as client:
                self._client.set_result(client)
                await self._stop.wait()
        except BaseExceptionGroup as group:
            self._why = in_words(group)
        except Exception as error:
            self._why = in_words(error)

    async def ready(self) -> None:
        """Wait until the handshake is done; LinkLost where it fails or takes too long."""
        await asyncio.wait({self._client, self._host}, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._client.done() and not self._host.done():
            return
        late = not self._host.done()
        await self.close()
        raise LinkLost(f"no answer within {self._timeout_s:g} s" if late else self._why, sent=False, late=late)

    async def ask(self, request: Callable[[Any], Awaitable[Any]], timeout_s: float) -> Any:
        """The server's answer, or the error of the protocol that it answers with; LinkLost where it gives none."""
        if self.over:
            raise LinkLost(self._why, sent=False)
        asked = asyncio.ensure_future(request(self._client.result()))
        try:
            await asyncio.wait({asked, self._host}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                late = not self._host.done()
                raise LinkLost(f"no answer within {timeout_s:g} s" if late else self._why, sent=True, late=late)
        finally:
            asked.cancel()
        return self._read(asked)

    def _read(self, asked: "asyncio.Future[Any]") -> Any:
        if asked.cancelled():
            raise LinkLost(self._why, sent=True)
        error = asked.exception()
        if error is None:
            return asked.result()
        code = getattr(error, "code", getattr(getattr(error, "error", None), "code", None))
        if code is None or code in (CLOSED, TIMED_OUT):
            self._stop.set()  # a new connection is made for the next request
            raise LinkLost(in_words(error), sent=True, late=code == TIMED_OUT)
        return error

    async def close(self) -> None:
        """End the connection; of a child of this process, the child too."""
        self._stop.set()
        if not self._client.done():
            self._host.cancel()
        done, _ = await asyncio.wait({self._host}, timeout=CLOSE_S)
        if not done:
            self._host.cancel()
            await asyncio.wait({self._host}, timeout=CLOSE_S)


def in_words(error: BaseException) -> str:
    """The first cause of an error, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
