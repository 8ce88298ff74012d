"""One MCP server: its tools, and calls of them with deadlines, a new connection where the old one broke, and a breaker.

A call is made again only where it cannot have run, as no connection was there, or where the server says that the tool is read-only or
idempotent. A server that leaves call after call without an answer is asked only once in a while, until it answers.
"""

import asyncio
from contextlib import suppress
from typing import Any

from configs.sections.tools import ToolsConfig
from reward.json_value import sendable
from reward.services.backoff import pause_before
from reward.services.breaker import IN_A_ROW, Breaker
from reward.services.secret import read_secret
from reward.tools.content import result_of
from reward.tools.mcp_link import Link, LinkLost
from reward.tools.mcp_transport import refuse_missing_command, refuse_without_mcp
from reward.tools.name import ServerName
from reward.tools.result import Result
from reward.tools.tool import Tool
from rollout.types import Outcome, Verdict

MOST_PAGES = 100  # of a list of tools
INVALID_PARAMS = -32602  # of JSON-RPC: the server refuses the arguments


class McpServer:
    """Asks one server; used on one event loop. ValueError where it cannot be asked at all."""

    def __init__(self, server: ServerName, config: ToolsConfig) -> None:
        refuse_without_mcp()
        refuse_missing_command(server)
        self.server, self.config = server, config
        self.variable = config.key_env.get(server.prefix) if server.prefix else None
        self.secret = read_secret(f"tools.key_env.{server.prefix}", self.variable)
        self._timeout_s = float(config.timeout_s)
        self._breaker = Breaker(self._timeout_s)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._door = asyncio.Lock()
        self._link: Link | None = None
        self._closed = False

    async def tools(self) -> list[Tool]:
        """The server's tools; ValueError where it does not answer, with the cause."""
        try:
            link = await self._linked()
            listed = [one async for one in self._listed(link)]
        except LinkLost as error:
            hint = "start the server, or correct the address" if self.server.url else "see what the command prints"
            raise ValueError(f"tools.use: {self.server.entry!r} does not answer: {self.secret.blot(str(error))}: {hint}") from None
        if not listed:
            raise ValueError(f"tools.use: {self.server.entry!r} has no tools: remove it")
        return [self._tool(one) for one in listed]

    async def _listed(self, link: Link) -> Any:
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await link.ask(lambda client: client.list_tools(cursor=cursor), self._timeout_s)  # noqa: B023
            for one in page.tools:
                yield one
            cursor = page.next_cursor
            if not cursor:
                return

    def _tool(self, listed: Any) -> Tool:
        hints = listed.annotations
        again = bool(hints and (hints.read_only_hint or hints.idempotent_hint))
        function = {"name": self.server.tool(listed.name), "description": listed.description or "", "parameters": listed.input_schema}

        async def run(arguments: dict[str, Any]) -> Result:
            return await self.call(listed.name, arguments, again=again)

        return Tool(entry=self.server.entry, schema={"type": "function", "function": function}, run=run, strict=False)

    async def call(self, name: str, arguments: dict[str, Any], *, again: bool) -> Result:
        """The result of a call; a failure where the server gives none in time. again: whether a call that may have run is repeated."""
        async with self._slots:
            if self._breaker.silent(take=True):
                why = f"the server did not answer {IN_A_ROW} calls in a row, so it is asked only once in {self._breaker.probe_s:g} s"
                return self._failure(name, why, Outcome.TIMED_OUT)
            for attempt in range(self.config.retries + 1):
                if attempt:
                    await asyncio.sleep(pause_before(attempt))
                try:
                    return await self._try(name, arguments)
                except LinkLost as error:
                    failed = error
                if failed.sent and not again:
                    break
            self._breaker.failed()
            return self._failure(name, str(failed), Outcome.TIMED_OUT if failed.late else Outcome.UNSCORABLE)

    async def _try(self, name: str, arguments: dict[str, Any]) -> Result:
        link = await self._linked()
        answer = await link.ask(lambda client: client.call_tool(name, arguments), self._timeout_s)
        self._breaker.answered()
        if isinstance(answer, Exception):  # of the protocol: the server is there and refuses the request
            code, said = getattr(answer, "code", 0), self.secret.blot(str(answer))
            return Result.wrong(said) if code == INVALID_PARAMS else self._failure(name, said, Outcome.UNSCORABLE)
        return result_of(answer, self.secret)

    def _failure(self, name: str, why: str, outcome: Outcome) -> Result:
        kind = "timeout" if outcome is Outcome.TIMED_OUT else "error"
        said = self.secret.blot(sendable(why))
        return Result(failure=Verdict.failed(outcome, f"{kind}: tool {self.server.tool(name)!r} of {self.server.shown}: {said}"))

    async def _linked(self) -> Link:
        """The connection, a new one where there is none or it broke; LinkLost where the server cannot be reached."""
        async with self._door:
            if self._closed:
                raise LinkLost("the run is ending", sent=False)
            if self._link is None or self._link.over:
                self._link = Link(self.server, self.secret, self.variable, self._timeout_s)
                await self._link.ready()
            return self._link

    async def close(self) -> None:
        """End the connection, and the server where it is a child of this process."""
        self._closed = True
        if self._link is not None:
            with suppress(LinkLost):
                await self._link.close()
