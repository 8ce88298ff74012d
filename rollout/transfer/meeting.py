"""Tools that both ends of a weight transfer share: free memory, rendezvous and gloo groups with a deadline."""

import os
import socket
import time
from datetime import timedelta
from typing import Any, Protocol

import torch
from torch.distributed import BroadcastOptions, DistNetworkError, PrefixStore, ProcessGroupGloo, TCPStore

KNOCK_S = 10.0  # for one attempt to reach a store


class Pending(Protocol):
    """A collective that is under way, as torch's own `Work` is."""

    def wait(self) -> object:
        """Return once it has ended; raises what broke it."""


class GlooGroup(Protocol):
    """The collectives of a gloo group; torch's own types lack them for a group of a single backend."""

    def broadcast(self, tensors: list[torch.Tensor], options: BroadcastOptions) -> Pending: ...
    def allreduce(self, tensors: list[torch.Tensor]) -> Pending: ...
    def barrier(self) -> Pending: ...


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype called `name`; ValueError if there is none."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{name!r} is no torch dtype: needed a name like float32 or bfloat16")
    return dtype


def free_bytes() -> int:
    """Bytes that this process can still take of its GPU, or of the machine's memory if it has no GPU."""
    if not torch.cuda.is_available():
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(torch.cuda.mem_get_info()[0]) + unused


def free_socket(host: str) -> socket.socket:
    """A listening socket on a free port of `host`; passing on the socket, not its number, keeps the port from being taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, 0))
    listener.listen()
    return listener


def open_store(host: str, port: int, world: int, deadline_s: float, listener: socket.socket | None = None) -> TCPStore:
    """A key-value store for a rendezvous: the owner of `listener` serves it, all other members join it.

    Raises ConnectionRefusedError once the port is closed, so that no member waits for an owner that has died.
    """
    deadline = timedelta(seconds=deadline_s)
    if listener is not None:
        return TCPStore(
            host, port, world, is_master=True, timeout=deadline, wait_for_workers=False, master_listen_fd=listener.detach(), use_libuv=True
        )
    until = time.monotonic() + deadline_s
    while True:
        socket.create_connection((host, port), deadline_s).close()
        patience = max(1.0, min(KNOCK_S, until - time.monotonic()))
        try:
            store = TCPStore(host, port, world, is_master=False, timeout=timedelta(seconds=patience))
        except DistNetworkError:  # the owner listens but does not serve yet, or has died since
            if time.monotonic() > until:
                raise
        else:
            store.set_timeout(deadline)
            return store


def open_gloo(store: TCPStore, name: str, host: str, rank: int, world: int, deadline_s: float) -> GlooGroup:
    """A gloo group beside any default group; its collectives fail after `deadline_s`."""
    gloo: Any = ProcessGroupGloo  # torch's types lack these options
    options = gloo._Options()
    options._devices = [gloo.create_device(hostname=host)]
    options._timeout = timedelta(seconds=deadline_s)
    group: GlooGroup = gloo(PrefixStore(name, store), rank, world, options)
    return group


def begin_broadcast(group: GlooGroup, tensor: torch.Tensor) -> Pending:
    """Begin to copy rank 0's bytes into every rank's `tensor`; `wait` raises once the group's deadline has passed."""
    options = BroadcastOptions()
    options.rootRank = 0
    return group.broadcast([tensor], options)


def broadcast(group: GlooGroup, tensor: torch.Tensor) -> None:
    """Copy rank 0's bytes into every rank's `tensor`; raises once the group's deadline has passed."""
    begin_broadcast(group, tensor).wait()
