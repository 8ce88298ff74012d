"""Tools that both ends of a weight transfer share: digests of tensors, rendezvous and gloo groups with a deadline."""

import socket
from datetime import timedelta
from typing import Any, Protocol

import torch
from torch.distributed import BroadcastOptions, PrefixStore, ProcessGroupGloo, TCPStore, Work

from rollout.proof import Digest

CHUNK = 1 << 16  # words digested at a time: their int64 copy then stays within a core's cache


class GlooGroup(Protocol):
    """The collectives of a gloo group; torch's own types lack them for a group of a single backend."""

    def broadcast(self, tensors: list[torch.Tensor], options: BroadcastOptions) -> Work: ...
    def barrier(self) -> Work: ...


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype called `name`; ValueError if there is none."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{name!r} is no torch dtype: needed a name like float32 or bfloat16")
    return dtype


def digest(tensor: torch.Tensor) -> Digest:
    """Two 64-bit sums over the tensor's bytes: one of the words, one of each word times its place, both modulo 2**64.

    Permuted, missing, cast or altered words change it. Runs on the tensor's own device, so a GPU tensor is not copied.
    """
    raw = tensor.detach().contiguous().view(-1).view(torch.uint8)
    whole = raw.numel() // 4 * 4
    words = raw[:whole].view(torch.int32)
    total = torch.zeros((), dtype=torch.int64, device=raw.device)
    placed = torch.zeros((), dtype=torch.int64, device=raw.device)
    for start in range(0, words.numel(), CHUNK):
        chunk = words[start : start + CHUNK].to(torch.int64)
        total += chunk.sum()
        placed += (chunk * torch.arange(start + 1, start + 1 + chunk.numel(), device=raw.device)).sum()
    for place, byte in enumerate(raw[whole:].tolist()):
        total += byte
        placed += byte * (words.numel() + 1 + place)
    return int(total), int(placed)


def free_socket(host: str) -> socket.socket:
    """A listening socket on a free port of `host`; passing on the socket, not its number, keeps the port from being taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, 0))
    listener.listen()
    return listener


def open_store(host: str, port: int, world: int, deadline_s: float, listener: socket.socket | None = None) -> TCPStore:
    """A key-value store for a rendezvous: the owner of `listener` serves it, all other members join it."""
    deadline = timedelta(seconds=deadline_s)
    if listener is None:
        return TCPStore(host, port, world, is_master=False, timeout=deadline)
    return TCPStore(
        host, port, world, is_master=True, timeout=deadline, wait_for_workers=False, master_listen_fd=listener.detach(), use_libuv=True
    )


def open_gloo(store: TCPStore, name: str, host: str, rank: int, world: int, deadline_s: float) -> GlooGroup:
    """A gloo group beside any default group; its collectives fail after `deadline_s`."""
    gloo: Any = ProcessGroupGloo  # torch's types lack these options
    options = gloo._Options()
    options._devices = [gloo.create_device(hostname=host)]
    options._timeout = timedelta(seconds=deadline_s)
    group: GlooGroup = gloo(PrefixStore(name, store), rank, world, options)
    return group


def broadcast(group: GlooGroup, tensor: torch.Tensor) -> None:
    """Copy rank 0's bytes into every rank's `tensor`; raises once the group's deadline has passed."""
    options = BroadcastOptions()
    options.rootRank = 0
    group.broadcast([tensor], options).wait()
