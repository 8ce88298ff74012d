"""Whether Ray itself still answers: its GCS, and the raylet of the driver's node.

Without one of them calls of the driver wait, some inside Ray without an end, until Ray ends the driver's process. The run ends before.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import ray
from ray._private import worker

from cluster.causes.died import describe_exit
from configs.errors import RunFailed

T = TypeVar("T")
GCS, RAYLET = "gcs_server", "raylet"  # as Ray names its processes
EVERY_S = 2.0
CONNECT_S = 5.0
CLUSTER_S = 40.0  # for a cluster's GCS to start again; Ray ends a driver after 60 s without it
CLEAN_UP_S = 15.0


class RayLost(RunFailed):
    """A process of Ray that no run can do without is gone."""


class RayWatch:
    """Looks every EVERY_S seconds; what answers nothing for `patience_s` is lost."""

    current: "RayWatch | None" = None  # of this process's session

    def __init__(self, addresses: Mapping[str, tuple[str, int]], processes: Mapping[str, Any], patience_s: float) -> None:
        """`addresses` are host and port by name; `processes` those that this driver started itself, if any."""
        self.addresses, self.processes, self.patience_s = dict(addresses), dict(processes), patience_s

    def silent(self) -> list[str]:
        """The names of those to which no connection can be made now."""
        return [name for name, address in self.addresses.items() if not accepts(*address)]

    async def guard(self, work: Awaitable[T]) -> T:
        """The result of `work`. RayLost, once `work` is cancelled or has failed, where Ray is lost meanwhile."""
        working, watching = asyncio.ensure_future(work), asyncio.ensure_future(self._lost())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            failed = working.exception() if working.done() and not working.cancelled() else None
            if failed is not None and self.silent():
                # Actors that die with their raylet may end the run first.
                await asyncio.wait({watching}, timeout=self.patience_s + EVERY_S)
            if watching.done():
                working.cancel()
                await asyncio.wait({working}, timeout=CLEAN_UP_S)
                raise watching.result() from failed
            return await working
        finally:
            for task in (watching, working):
                task.cancel()
            if not working.done():
                await asyncio.wait({working}, timeout=CLEAN_UP_S)

    async def _lost(self) -> RayLost:
        since: dict[str, float] = {}
        while True:
            silent = await asyncio.to_thread(self.silent)
            now = time.monotonic()
            since = {name: since.get(name, now) for name in silent}
            if gone := [name for name, began in since.items() if now - began >= self.patience_s]:
                return RayLost(f"{'; '.join(map(self.describe, gone))}: no run goes on without it")
            await asyncio.sleep(EVERY_S / 2 if silent else EVERY_S)

    def describe(self, name: str) -> str:
        """Where a process of Ray was, and how it ended if that is known."""
        host, port = self.addresses[name]
        process = self.processes.get(name)
        code = process.poll() if process is not None else None
        how = f"process {process.pid} was {describe_exit(code)}" if process is not None and code is not None else "nothing answers there"
        return f"Ray's {name} at {host}:{port} is lost ({how})"


def accepts(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


def watch_ray(*, local: bool) -> RayWatch:
    """A watch over the Ray that this process has just joined or, if `local`, started."""
    me = ray.get_runtime_context()
    host, _, port = me.gcs_address.rpartition(":")
    here = next(node for node in ray.nodes() if node["NodeID"] == me.get_node_id())
    addresses = {GCS: (host.strip("[]"), int(port)), RAYLET: (here["NodeManagerAddress"], int(here["NodeManagerPort"]))}
    started: dict[str, Any] = worker._global_node.all_processes if local and worker._global_node else {}
    processes = {name: started[name][0].process for name in addresses if started.get(name)}
    return RayWatch(addresses, processes, EVERY_S if local else CLUSTER_S)


def ray_answers() -> bool:
    """Whether the Ray that this process uses can be asked to end actors and to free places: asking a lost GCS would not return."""
    return RayWatch.current is None or not RayWatch.current.silent()
