"""Counts the bytes of tensors that are alive, at every operation that PyTorch dispatches."""

import weakref
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within: `peak` is the largest number of bytes alive at once, of storages made within."""

    def __enter__(self) -> Self:
        self.now = self.peak = 0
        self.alive: dict[int, int] = {}
        super().__enter__()
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and (key := (storage := leaf.untyped_storage())._cdata) not in self.alive | dict.fromkeys(
                given
            ):
                self.alive[key] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, key)
        return out

    def _free(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)
