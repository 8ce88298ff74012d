"""A rank's GPU memory, given away for a while: every tensor that an object holds is parked in host memory and comes back unchanged.

    park():   bytes of a storage ──► host buffer (pinned on a GPU), then the storage shrinks to nothing
    unpark(): the storage grows again ◄── the same bytes

It moves storages, not tensors. So all views stay views: flat buffers, the parameters inside them, and shards. DeepSpeed's own
`offload_states` covers neither ZeRO stage 0, nor ZeRO-3 with torch's AdamW, nor a reference policy.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

LEAVES = (str, bytes, bytearray, int, float, complex, bool, type(None), type, torch.dtype, torch.device, torch.Size)
OURS = ("deepspeed", "learner", "torch.optim", "transformers")  # objects of these packages may hold tensors of a rank
PAUSE_S = 0.5


class Parking:
    """The storages of a rank on `device`, and their bytes in host memory while they are parked.

    scratch: tensors whose values nobody needs between two steps; they are freed and not copied.
    """

    def __init__(self, root: Any, device: torch.device, scratch: Callable[[], Iterable[torch.Tensor]] = tuple) -> None:
        self.root, self.device, self.scratch = root, device, scratch
        self.buffers: list[torch.Tensor] = []  # pinned pages are slow to make, so a buffer is used again for a storage of the same size
        self.parked: list[tuple[torch.UntypedStorage, int, torch.Tensor | None]] = []

    def park(self) -> int:
        """Give the device's memory away; returns the bytes that were given away. RuntimeError if they are already."""
        if self.parked:
            raise RuntimeError("the rank's memory is parked already")
        spare: dict[int, list[torch.Tensor]] = {}
        for buffer in self.buffers:
            spare.setdefault(buffer.numel(), []).append(buffer)
        self._wait()  # gradients are reduced on streams of their own, for which a copy does not wait
        worthless = {tensor.untyped_storage().data_ptr() for tensor in self.scratch()}
        for storage in storages(self.root, self.device):
            size = storage.nbytes()
            if storage.data_ptr() in worthless:
                self.parked.append((storage, size, None))
                continue
            waiting = spare.get(size)
            buffer = waiting.pop() if waiting else torch.empty(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
            self.parked.append((storage, size, buffer.copy_(as_bytes(storage))))
        self.buffers = [buffer for _, _, buffer in self.parked if buffer is not None]
        for storage, _, _ in self.parked:
            storage.resize_(0)
        self._give_back()
        return sum(size for _, size, _ in self.parked)

    def unpark(self, patience_s: float = 0.0) -> None:
        """Take the memory again and restore every byte.

        An engine that has just been killed frees its memory a moment later, so a lack of memory is tried again for `patience_s` seconds.
        """
        give_up = time.monotonic() + patience_s
        while self.parked:
            storage, size, buffer = self.parked[-1]
            within(give_up, partial(storage.resize_, size))
            if buffer is not None:
                as_bytes(storage).copy_(buffer)
            self.parked.pop()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _give_back(self) -> None:
        gc.collect()
        self._wait()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def within(give_up: float, allocate: Callable[[], object]) -> None:
    """Call `allocate` until there is memory; torch.OutOfMemoryError once the monotonic clock is past `give_up`."""
    while True:
        try:
            allocate()
            return
        except torch.OutOfMemoryError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(PAUSE_S)


def as_bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload,no-any-return]


def storages(root: Any, device: torch.device) -> list[torch.UntypedStorage]:
    """Every storage on `device` that can be moved and that `root` holds, each once."""
    found: dict[int, torch.UntypedStorage] = {}
    for tensor in tensors(root):
        if tensor.device.type != device.type or tensor.layout != torch.strided:
            continue
        storage = tensor.untyped_storage()
        # Host memory that numpy or another process shares cannot shrink.
        if storage.nbytes() and storage.resizable() and (storage.device.type != "cpu" or not storage.is_shared()):
            found.setdefault(storage.data_ptr(), storage)
    return list(found.values())


def tensors(root: Any) -> Iterator[torch.Tensor]:
    """Every tensor that `root` reaches through attributes, containers and closures of this project, DeepSpeed and torch."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, LEAVES) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            yield one
            waiting += [one.grad] if one.is_leaf else []
        waiting += parts(one)


def parts(one: Any) -> list[Any]:
    """What one object holds directly."""
    if isinstance(one, dict):
        return list(one.values()) + [key for key in one if isinstance(key, torch.Tensor)]
    if isinstance(one, list | tuple | set | frozenset | deque):
        return list(one)
    held = getattr(one, "__dict__", None)
    known = isinstance(one, torch.Tensor | nn.Module | torch.optim.Optimizer) or type(one).__module__.startswith(OURS)
    if not known:
        return []
    slots = [getattr(one, name, None) for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ()) if name != "__dict__"]
    return slots + (list(held.values()) if held else [])
