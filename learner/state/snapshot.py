"""A rank's numbers copied into host memory, so that they can be written while training goes on.

The memory is allocated once and used again. It is pinned for a GPU, where a copy into other memory would be several times slower.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learner.state.files import Fragment


class Entry(NamedTuple):
    """Numbers [n] on the rank's device, and the fragments that they are, in their order."""

    numbers: Tensor
    fragments: Sequence[Fragment]


class Snapshot:
    """The newest copy: `fragments`, whose bytes follow one another in `memory`."""

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.fragments: list[Fragment] = []

    def reserve(self, size: int, *, pinned: bool) -> None:
        """Have at least `size` bytes whose pages exist: the first use of a page costs more than the copy into it."""
        if len(self.memory) < size:
            self.memory = torch.empty(0, dtype=torch.uint8)  # the old one is freed first
            self.memory = torch.empty(size, dtype=torch.uint8, pin_memory=pinned).fill_(0)

    def take(self, entries: Sequence[Entry]) -> None:
        """Copy everything. Types of larger numbers come first, so that each stands at a multiple of its size."""
        entries = sorted(entries, key=lambda entry: -entry.numbers.dtype.itemsize)
        on_gpu = any(entry.numbers.is_cuda for entry in entries)
        self.reserve(sum(entry.numbers.nbytes for entry in entries), pinned=on_gpu)
        if on_gpu:
            torch.cuda.synchronize()  # DeepSpeed works on streams of its own, for which a copy does not wait
        end = 0
        for entry in entries:
            begin, end = end, end + entry.numbers.nbytes
            self.memory[begin:end].view(entry.numbers.dtype).copy_(entry.numbers, non_blocking=True)
        if on_gpu:
            torch.cuda.synchronize()
        self.fragments = [fragment for entry in entries for fragment in entry.fragments]
