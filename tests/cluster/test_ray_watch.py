"""A run whose Ray is gone ends with that as its cause, whatever its work does meanwhile."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from cluster.actors.nodes import ray_watch
from cluster.actors.nodes.ray_watch import GCS, RAYLET, RayLost, RayWatch


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, socket.socket]]:
    """Two ports that accept connections."""
    monkeypatch.setattr(ray_watch, "EVERY_S", 0.05)
    found = {name: socket.create_server(("127.0.0.1", 0)) for name in (GCS, RAYLET)}
    yield found
    for listener in found.values():
        listener.close()


def over(listeners: dict[str, socket.socket], patience_s: float = 0.1, processes: dict | None = None) -> RayWatch:
    return RayWatch({name: listener.getsockname() for name, listener in listeners.items()}, processes or {}, patience_s)


def test_work_that_ends_or_fails_beside_a_living_ray_is_passed_on(listeners: dict[str, socket.socket]) -> None:
    async def fail() -> None:
        raise ValueError("own")

    assert asyncio.run(over(listeners).guard(asyncio.sleep(0.2, "done"))) == "done"
    with pytest.raises(ValueError, match="own"):
        asyncio.run(over(listeners).guard(fail()))


@pytest.mark.parametrize("name", [GCS, RAYLET])
@pytest.mark.parametrize("fails", [True, False])
def test_work_ends_once_ray_is_lost(listeners: dict[str, socket.socket], name: str, fails: bool) -> None:
    """Also where its actors die first, and the work with them."""
    cleaned: list[bool] = []
    killed = subprocess.Popen(["sleep", "60"])
    killed.kill()
    killed.wait()
    watch = over(listeners, processes={name: killed})

    async def work() -> None:
        await asyncio.sleep(0.1)
        listeners[name].close()
        try:
            await asyncio.sleep(0.01 if fails else 60)
            raise RuntimeError("the actor died")
        finally:
            cleaned.append(True)

    began = time.monotonic()
    with pytest.raises(RayLost, match=rf"^Ray's {name} at 127\.0\.0\.1:\d+ is lost \(process {killed.pid} was killed by SIGKILL\)"):
        asyncio.run(watch.guard(work()))
    assert time.monotonic() - began < 5
    assert cleaned == [True]


def test_a_gcs_that_comes_back_in_time_is_not_lost(listeners: dict[str, socket.socket]) -> None:
    watch, port = over(listeners, patience_s=5), listeners[GCS].getsockname()[1]

    async def work() -> str:
        listeners[GCS].close()
        await asyncio.sleep(0.3)
        assert watch.silent() == [GCS]
        with closing(socket.create_server(("127.0.0.1", port))):
            await asyncio.sleep(0.3)
            return "went on" if not watch.silent() else "lost"

    assert asyncio.run(watch.guard(work())) == "went on"
