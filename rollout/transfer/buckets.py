"""Buckets of tensors under way: while a member works on one bucket, the next is received or the last one is sent."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from rollout.transfer.meeting import GlooGroup, Pending, begin_broadcast, torch_dtype
from rollout.transfer.proof import Entry, Manifest, aligned, buckets

SMALLEST_BYTES = 1 << 20  # of a bucket: its words between two busy processes cost as much as to copy so many bytes
SHARE = 8  # of a small checkpoint in a bucket, so that even its buckets overlap
KEPT_BYTES = 1 << 26  # of a buffer; a larger one is made anew for each bucket that needs it


class TwoBuffers:
    """Memory for two buckets at a time. It stays from publish to publish: to touch new memory takes as long as to fill it."""

    def __init__(self) -> None:
        self.kept = [self.fresh(0, 0), self.fresh(1, 0)]

    def room(self, number: int, nbytes: int) -> Tensor:
        """Room for a bucket; that of the bucket two before is given up."""
        if nbytes > KEPT_BYTES:
            return self.fresh(number, nbytes)
        place = number % 2
        if self.kept[place].numel() < nbytes:
            self.kept[place] = self.fresh(number, nbytes)
        return self.kept[place][:nbytes]

    @staticmethod
    def fresh(number: int, nbytes: int) -> Tensor:
        """Room that nothing else has."""
        return torch.empty(nbytes, dtype=torch.uint8)


def streamed(manifest: Manifest, limit: int) -> list[list[Entry]]:
    """The buckets of a checkpoint where members work on one while the next is under way; both ends make the same of a manifest."""
    return buckets(manifest, min(limit, max(SMALLEST_BYTES, sum(entry.nbytes for entry in manifest) // SHARE)))


def size_of(bucket: Sequence[Entry]) -> int:
    """Bytes of a bucket on the wire."""
    return sum(aligned(entry.nbytes) for entry in bucket)


def unpacked(buffer: Tensor, bucket: Sequence[Entry]) -> list[tuple[str, Tensor]]:
    """The tensors of a bucket by name, as views of the bytes that hold them."""
    start, weights = 0, []
    for entry in bucket:
        raw = buffer[start : start + entry.nbytes]
        weights.append((entry.name, raw.view(torch_dtype(entry.dtype)).view(entry.shape)))
        start += aligned(entry.nbytes)
    return weights


def arriving(group: GlooGroup, plan: Sequence[list[Entry]], room: Callable[[int, int], Tensor]) -> Iterator[tuple[list[Entry], Tensor]]:
    """Each bucket with its bytes as it arrives; the next one arrives while the caller works. `room` gives memory for number and bytes."""

    def begin(number: int) -> tuple[list[Entry], Tensor, Pending]:
        buffer = room(number, size_of(plan[number]))
        return plan[number], buffer, begin_broadcast(group, buffer)

    coming = begin(0) if plan else None
    for number in range(1, len(plan) + 1):
        assert coming is not None
        bucket, buffer, work = coming
        coming = begin(number) if number < len(plan) else None
        work.wait()
        yield bucket, buffer
