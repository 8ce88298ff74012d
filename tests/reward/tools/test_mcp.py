"""Real MCP servers, over stdio and HTTP: their tools, their errors, their end, and that nothing of them is left."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from configs.schema import Config
from reward.tools.mcp_server import McpServer
from reward.tools.name import server_of
from reward.tools.result import Result
from rollout.types import Outcome

pytest.importorskip("mcp", minversion=None, reason="MCP servers need the package mcp: these tests did not run")
pytestmark = [pytest.mark.timeout(180), pytest.mark.end_to_end]

SERVER = Path(__file__).parents[2] / "toys" / "mcp_server.py"
STDIO = f"mcp:stdio {sys.executable} {SERVER} stdio"
ANSWER_S = 60.0


def made(entry: str, **tools: Any) -> McpServer:
    tables = {"model": {"path": "m"}, "data": {"train": "t"}, "tools": {"use": [entry], "retries": 1, "timeout_s": 20} | tools}
    server = server_of(entry)
    assert server is not None
    return McpServer(server, Config.model_validate(tables).tools)


class Serving:
    """A server over HTTP that can be ended and started again on its port."""

    def __init__(self, *key: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.key = key
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(SERVER), str(self.port), *self.key])
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the toy server does not start")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    one = Serving("key-5f2c")
    yield one
    one.end()


def run(waited: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(waited)


async def tried(server: McpServer, file: Path) -> None:
    """What holds for every server, whatever its transport."""
    try:
        tools = {tool.name: tool for tool in await server.tools()}
        prefix = f"{server.server.prefix}_" if server.server.prefix else ""
        assert tools[f"{prefix}add"].schema["function"]["description"] == "Add two numbers."
        assert tools[f"{prefix}add"].parameters["required"] == ["a", "b"]
        assert await tools[f"{prefix}add"].run({"a": 1, "b": 2}) == Result(text="3")
        wrong = await server.call("add", {"a": "x", "b": 2}, again=False)
        assert wrong.error
        assert wrong.text.startswith("error: ")
        assert (await server.call("nonesuch", {}, again=False)).error
        began = time.monotonic()
        assert await asyncio.gather(*(server.call("sleep", {"seconds": 0.5}, again=False) for _ in range(6))) == [Result(text="slept")] * 6
        assert time.monotonic() - began < 2.5
        server._timeout_s = 0.3
        late = await server.call("sleep", {"seconds": 9}, again=False)
        server._timeout_s = 20.0
        assert late.failure is not None
        assert late.failure.outcome is Outcome.TIMED_OUT
        assert "no answer within 0.3 s" in str(late.failure.failure)
        assert await server.call("add", {"a": 2, "b": 2}, again=False) == Result(text="4")
        if server.server.command:
            await tried_as_a_child(server, file)
    finally:
        await server.close()


async def tried_as_a_child(server: McpServer, file: Path) -> None:
    """It has its key, which no text shows; it is started again where it died; nothing of it is left."""
    assert (await server.call("key", {}, again=False)).text == "[key]"
    before = int((await server.call("child", {}, again=False)).text)
    assert await server.call("die_once", {"file": str(file)}, again=True) == Result(text="alive")
    assert_gone(before)
    after = int((await server.call("child", {}, again=False)).text)
    dead = await server.call("die", {}, again=False)
    assert dead.failure is not None
    assert dead.failure.outcome is Outcome.UNSCORABLE
    assert_gone(after)


def test_a_server_over_stdio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", "key-77")
    monkeypatch.setenv("OTHER_KEY", "secret")
    run(tried(made(f"toys={STDIO}", key_env={"toys": "TOY_KEY"}), tmp_path / "died"))


def test_a_server_over_http_and_its_second_life(serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", "key-5f2c")
    entry = f"toys=mcp:http://127.0.0.1:{serving.port}/mcp"

    async def lives() -> None:
        server = made(entry, key_env={"toys": "TOY_KEY"})
        await tried(server, tmp_path / "died")
        server = made(entry, key_env={"toys": "TOY_KEY"})
        try:
            assert await server.call("add", {"a": 1, "b": 1}, again=False) == Result(text="2")
            serving.end()
            lost = await server.call("add", {"a": 1, "b": 1}, again=False)
            assert lost.failure is not None
            assert str(lost.failure.failure).startswith("error: tool 'toys_add' of http://127.0.0.1:")
            await asyncio.to_thread(serving.start)
            assert await server.call("add", {"a": 1, "b": 2}, again=False) == Result(text="3")
        finally:
            await server.close()

    run(lives())
    monkeypatch.setenv("TOY_KEY", "wrong-key")
    with pytest.raises(ValueError, match="does not answer") as refused:
        run(made(entry, key_env={"toys": "TOY_KEY"}).tools())
    assert "wrong-key" not in str(refused.value)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("mcp:http://127.0.0.1:9/mcp", "start the server, or correct the address"),
        (f'mcp:stdio {sys.executable} -c "import nonesuch"', "see what the command prints"),
        ("mcp:stdio nonesuch --x", "there is no command 'nonesuch'"),
        ("mcp:stdio /nowhere/server", "there is no command '/nowhere/server'"),
    ],
)
def test_a_server_that_is_absent_is_refused_with_the_cause(entry: str, why: str) -> None:
    async def ask() -> None:
        server = made(entry)
        try:
            await server.tools()
        finally:
            await server.close()

    with pytest.raises(ValueError, match=r"^tools\.use: ") as refused:
        run(ask())
    assert why in str(refused.value)


def test_a_key_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tools\.key_env\.toys names the environment variable NO_SUCH_KEY"):
        made("toys=mcp:http://127.0.0.1:9/mcp", key_env={"toys": "NO_SUCH_KEY"})


OWNER = """
import asyncio, os, signal, sys
from tests.reward.tools.test_mcp import made, STDIO

async def main():
    server = made(STDIO)
    print((await server.call("child", {}, again=False)).text, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_nothing_of_a_server_survives_a_killed_owner() -> None:
    root = SERVER.parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(root)}
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        servers = [one.pid for one in psutil.Process(owner.pid).children(recursive=True)]
        assert len(servers) >= 2
        owner.kill()
    for one in (pid, *servers):
        assert_gone(one)


def assert_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} is left"
        time.sleep(0.05)
