"""The rank's end of a transfer through memory that it shares with the engine's worker on the same GPU."""

import socket
from collections.abc import Sequence

import torch

from learner.weights.source import Tensors, ZeroWeightSource
from rollout.transfer.local_memory import Exported
from rollout.transfer.meeting import open_store
from rollout.transfer.pairs import Pair
from rollout.transfer.proof import Entry, aligned, buckets
from rollout.transfer.transport import Ipc, Rendezvous


class BesideSender:
    """Every rank has its own whole copy of each layer and gives it to the worker beside it. The first rank serves the store."""

    def __init__(self, transport: Ipc, source: ZeroWeightSource, meeting: Rendezvous, rank: int, listener: socket.socket | None) -> None:
        self.source, self.rank, self.bucket_bytes = source, rank, transport.bucket_bytes
        self.store = open_store(meeting.host, meeting.port, meeting.world_size, transport.deadline_s, listener)
        self.pair = Pair(self.store, meeting.name, rank, transport.deadline_s)
        self.has_worker = self.pair.meets()

    def send(self) -> None:
        """Fill the buffer with one bucket after another. After a failure the gathers go on, since they are collectives."""
        if not self.has_worker and not self.source.prove:
            self.source.stand_by()
            return
        self.pair.begin()
        pairs = iter(self.source)
        try:
            if self.has_worker:
                self._hand_over(pairs)
        finally:
            for _ in pairs:  # on the first rank all of them, where its engine has died; on others some only after a failure
                pass

    def _hand_over(self, pairs: Tensors) -> None:
        plan = buckets(self.source.manifest(), self.bucket_bytes)
        # A tensor larger than a bucket travels alone, so the buffer holds the largest.
        shared = Exported(max(sum(aligned(entry.nbytes) for entry in bucket) for bucket in plan), self.source.device)
        try:
            self.pair.offer(shared.address)
            for number, bucket in enumerate(plan):
                tensors = [next(pairs) for _ in bucket]  # gathered while the worker still loads
                if number:
                    self.pair.hear("done", number - 1)
                    shared.hide()
                fill(shared.buffer, bucket, tensors)
                self.pair.say("ready", number)
            self.pair.hear("done", len(plan) - 1)
            self.pair.hear("closed")
        finally:
            shared.close()

    def close(self) -> None:
        del self.pair, self.store


def fill(buffer: torch.Tensor, bucket: Sequence[Entry], tensors: Sequence[tuple[str, torch.Tensor]]) -> None:
    """Write a bucket's tensors into the buffer, each at its aligned place, and wait until they are there."""
    start = 0
    for entry, (name, tensor) in zip(bucket, tensors, strict=True):
        assert name == entry.name, f"the source yielded {name} where its manifest says {entry.name}"
        buffer[start : start + entry.nbytes] = tensor.contiguous().view(-1).view(torch.uint8)
        start += aligned(entry.nbytes)
    if buffer.is_cuda:
        torch.cuda.synchronize(buffer.device)
