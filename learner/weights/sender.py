"""The learner's end of a weight transfer: our gloo backend, or any of vLLM's own.

The driver calls the engines and the learner at the same time and holds the deadline, so no rank ever waits for an engine outside
the collective itself.
"""

import socket
from typing import Any, Protocol

import torch

from learner.weights.source import ZeroWeightSource
from rollout.proof import aligned, buckets
from rollout.transfer import broadcast, open_gloo, open_store


class Sender(Protocol):
    """Rank 0 sends; the other ranks only take part in the gathers."""

    def send(self) -> None: ...
    def close(self) -> None: ...


class StandBy:
    """A rank that sends nothing itself."""

    def __init__(self, source: ZeroWeightSource) -> None:
        self.source = source

    def send(self) -> None:
        for _ in self.source:
            pass

    def close(self) -> None: ...


class GlooSender:
    """Sends whole checkpoints in buckets to engines on CPU."""

    def __init__(self, source: ZeroWeightSource, info: dict[str, Any], listener: socket.socket) -> None:
        self.source, self.bucket_bytes = source, int(info["bucket_bytes"])
        world, deadline = int(info["world_size"]), float(info["deadline_s"])
        self.store = open_store(info["host"], info["port"], world, deadline, listener)
        self.group = open_gloo(self.store, info["name"], info["host"], 0, world, deadline)

    def send(self) -> None:
        """Broadcast every tensor, packed into buckets in the manifest's order."""
        pairs = iter(self.source)
        for bucket in buckets(self.source.manifest(), self.bucket_bytes):
            buffer = torch.zeros(sum(aligned(entry.nbytes) for entry in bucket), dtype=torch.uint8)
            start = 0
            for entry in bucket:
                name, tensor = next(pairs)
                assert name == entry.name, f"the source yielded {name} where its manifest says {entry.name}"
                buffer[start : start + entry.nbytes] = tensor.contiguous().view(-1).view(torch.uint8)
                start += aligned(entry.nbytes)
            broadcast(self.group, buffer)
        # The last gather is a collective; leaving the iterator unfinished would strand the other ranks.
        assert next(pairs, None) is None, "the source yielded more than its manifest says"

    def close(self) -> None:
        del self.group, self.store


def open_sender(backend: str, source: ZeroWeightSource, info: dict[str, Any], rank: int, listener: socket.socket | None) -> Sender:
    """Meet the engines in the transfer group that `info` describes, as its rank 0; other ranks stand by for the gathers."""
    if rank != 0:
        return StandBy(source)
    assert listener is not None, "rank 0 serves the rendezvous"
    if backend == "gloo":
        return GlooSender(source, info, listener)
    # Importing vLLM takes many seconds and is needed for its backends alone; the port is held meanwhile.
    from learner.weights.nccl import VllmSender

    listener.close()  # vLLM's own backends bind the port themselves
    return VllmSender(source, info)
