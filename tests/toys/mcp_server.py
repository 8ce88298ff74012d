"""An MCP server with a few tools: `python tests/toys/mcp_server.py stdio`, or a port of 127.0.0.1 and perhaps the key that it wants."""

import asyncio
import os
import subprocess
import sys
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("toys")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def sleep(seconds: float) -> str:
    """Sleep."""
    await asyncio.sleep(seconds)
    return "slept"


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(3)


@server.tool(annotations=ToolAnnotations(idempotentHint=True))
def die_once(file: str) -> str:
    """End the server at the first call."""
    if os.path.exists(file):
        return "alive"
    open(file, "w").close()
    os._exit(3)


@server.tool()
def child() -> int:
    """Start a process that does not end."""
    return subprocess.Popen(["sleep", "1000"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid


@server.tool()
def key() -> str:
    """What the server knows of its key."""
    return str(os.environ.get("TOY_KEY"))


def guarded(app: Any, wanted: str) -> Any:
    """The app, for requests that have the key."""

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != f"Bearer {wanted}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"no key"})
            return
        await app(scope, receive, send)

    return guard


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        import uvicorn

        app = server.streamable_http_app()
        uvicorn.run(guarded(app, sys.argv[2]) if len(sys.argv) > 2 else app, port=int(sys.argv[1]), log_level="error")
