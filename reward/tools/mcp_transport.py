"""How an MCP server is reached: over HTTP, or as a child that speaks over its stdin and stdout."""

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reward.services.secret import Secret
from reward.tools.name import ServerName

ROOT = Path(__file__).resolve().parents[2]
STARTER = "import sys; sys.path.insert(0, sys.argv.pop(1)); from reward.tools.stdio_main import main; main(sys.argv[1:])"
NEEDS_MCP = "MCP servers need the package mcp, version 2: install gatewise[tools], or remove the entry from tools.use"


def refuse_without_mcp() -> None:
    """Raise ValueError where the client library is not installed, or is one that this cannot use."""
    try:
        from mcp import Client  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{NEEDS_MCP} ({error})") from None


@asynccontextmanager
async def connected(server: ServerName, secret: Secret, variable: str | None, timeout_s: float) -> AsyncIterator[Any]:
    """A client of the server, after the handshake. It must be left by the task that has entered it."""
    import httpx2
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if server.command:
        env = {variable: os.environ[variable]} if variable else {}
        arguments = ["-P", "-s", "-c", STARTER, str(ROOT), str(os.getpid()), *server.command]
        parameters = StdioServerParameters(command=sys.executable, args=arguments, env=env)
        async with Client(stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr), cache=None) as client:
            yield client
        return
    limits = httpx2.Timeout(timeout_s)
    async with (
        httpx2.AsyncClient(headers=secret.headers, timeout=limits) as http,
        Client(streamable_http_client(server.url, http_client=http), cache=None) as client,
    ):
        yield client


def refuse_missing_command(server: ServerName) -> None:
    """Raise ValueError where the command of a server is not there."""
    if server.command and shutil.which(server.command[0]) is None:
        raise ValueError(f"tools.use: {server.entry!r}: there is no command {server.command[0]!r}, neither here nor on PATH: correct it")
