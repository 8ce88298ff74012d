"""The reference of `benchmarks.publish`: bytes broadcast from one process to others over gloo, and nothing else."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.peer import Work
from configs.schema import Config
from rollout.transfer.digest import digest
from rollout.transfer.meeting import broadcast, free_socket, open_gloo, open_store

HOST = "127.0.0.1"
DEADLINE_S = 60.0


class End:
    """One of the processes: it meets the others, then sends or receives at each job."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.listener: socket.socket | None = free_socket(HOST) if rank == 0 else None

    def address(self) -> dict[str, Any]:
        assert self.listener
        return {"port": self.listener.getsockname()[1]}

    def join(self, port: int, tensors: Sequence[int], world: int) -> dict[str, Any]:
        """Form the group and make tensors of the given bytes, side by side in one buffer as a publish packs them."""
        self.store = open_store(HOST, port, world, DEADLINE_S, self.listener)
        self.group = open_gloo(self.store, "bare", HOST, self.rank, world, DEADLINE_S)
        self.buffer = torch.randint(0, 255, (sum(tensors),), dtype=torch.uint8)
        self.tensors = self.buffer.split(list(tensors))
        return {}

    def send(self) -> dict[str, Any]:
        """One broadcast, timed from when both ends are ready until both are done; the root's digests are timed separately."""
        self.group.barrier().wait()
        started = time.perf_counter()
        broadcast(self.group, self.buffer)
        self.group.barrier().wait()
        sent = time.perf_counter()
        for tensor in self.tensors if self.rank == 0 else ():
            digest(tensor)
        return {"seconds": sent - started, "digest": time.perf_counter() - sent}


@contextmanager
def root(_: Config) -> Iterator[Work]:
    """The process that sends."""
    yield _serve(End(0))


@contextmanager
def leaf1(_: Config) -> Iterator[Work]:
    """The first process that receives."""
    yield _serve(End(1))


@contextmanager
def leaf2(_: Config) -> Iterator[Work]:
    """The second process that receives."""
    yield _serve(End(2))


def _serve(end: End) -> Work:
    methods: dict[str, Callable[..., dict[str, Any]]] = {"address": end.address, "join": end.join, "send": end.send}
    return lambda job: methods[job.pop("what")](**job)
