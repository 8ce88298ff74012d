"""The learner's end of a weight transfer: a row for each transport.

The driver calls engines and learner at the same time and enforces the deadline, so a rank waits for an engine only inside a collective.
"""

import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from learner.weights.beside import BesideSender
from learner.weights.source import Tensors, ZeroWeightSource
from rollout.transfer.buckets import size_of, streamed, unpacked
from rollout.transfer.digest import read, sums
from rollout.transfer.gloo_group import RecallableGloo
from rollout.transfer.lanes import offer
from rollout.transfer.meeting import open_gloo, open_store
from rollout.transfer.proof import Proof
from rollout.transfer.recall import Line
from rollout.transfer.threads import half_the_threads
from rollout.transfer.transport import Gloo, Ipc, Nccl, Rendezvous, Transport


class Sender(Protocol):
    """Rank 0 sends; the other ranks only take part in the gathers."""

    def send(self) -> None: ...
    def close(self) -> None: ...


class StandBy:
    """A rank that sends nothing and copies nothing."""

    def __init__(self, source: ZeroWeightSource) -> None:
        self.source = source

    def send(self) -> None:
        self.source.stand_by()

    def close(self) -> None: ...


class GlooSender:
    """Sends whole checkpoints in buckets to engines on CPU: while one bucket leaves, it is digested and the next is filled."""

    def __init__(self, transport: Gloo, source: ZeroWeightSource, meeting: Rendezvous, listener: socket.socket) -> None:
        self.source, self.plan = source, streamed(source.manifest(), transport.bucket_bytes)
        self.store = open_store(meeting.host, meeting.port, meeting.world_size, transport.deadline_s, listener)
        line = Line(self.store, meeting.name, transport.deadline_s)
        line.meet(meeting.world_size)
        group = open_gloo(self.store, meeting.name, meeting.host, 0, meeting.world_size, transport.deadline_s)
        self.group = RecallableGloo(group, line)
        self.lane = offer(self.group, line, meeting.world_size - 1, max(map(size_of, self.plan), default=0))

    def send(self) -> None:
        """Broadcast every tensor, packed into buckets in the manifest's order. The source's proof is then that of the bytes that left."""
        pairs = self.source.live()
        try:
            with half_the_threads():
                self.source.proof = self._broadcast(pairs)
            assert next(pairs, None) is None, "the source yielded more than its manifest says"
        finally:
            for _ in pairs:  # after a failure too: gathers are collectives, and the other ranks stand in them
                pass

    def _broadcast(self, pairs: Tensors) -> Proof:
        found: dict[str, torch.Tensor] = {}
        self.lane.begin()
        for number, bucket in enumerate(self.plan):
            buffer = self.lane.room(number, size_of(bucket))
            weights = unpacked(buffer, bucket)
            for entry, (_, room) in zip(bucket, weights, strict=True):
                name, tensor = next(pairs)
                assert name == entry.name, f"the source yielded {name} where its manifest says {entry.name}"
                room.copy_(tensor)
            self.lane.leave(buffer)
            found.update((name, sums(tensor)) for name, tensor in weights)
        self.lane.end()
        return read(found)

    def close(self) -> None:
        self.lane.close()
        del self.lane, self.group, self.store


def open_nccl_sender(transport: Nccl, source: ZeroWeightSource, meeting: Rendezvous, listener: socket.socket) -> Sender:
    """Import vLLM, which takes many seconds."""
    from learner.weights.nccl import NcclSender

    return NcclSender(transport, source, meeting, listener)


SENDERS: Mapping[type[Transport], Callable[[Any, ZeroWeightSource, Rendezvous, socket.socket], Sender]] = {
    Gloo: GlooSender,
    Nccl: open_nccl_sender,
}


def open_sender(transport: Transport, source: ZeroWeightSource, meeting: Rendezvous, rank: int, listener: socket.socket | None) -> Sender:
    """Meet the engines in a transfer group, as its rank 0; the other ranks of the learner stand by for the gathers.

    Where GPUs are shared every rank sends, to the worker beside it.
    """
    if isinstance(transport, Ipc):
        return BesideSender(transport, source, meeting, rank, listener)
    if rank != 0:
        return StandBy(source)
    assert listener is not None, "rank 0 serves the rendezvous"
    return SENDERS[type(transport)](transport, source, meeting, listener)
