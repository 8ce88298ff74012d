"""Which numbers of a checkpoint vLLM's loaders copy to which places of a model, learned by running them once on tensors without memory.

model.load_weights([(name, tensor without memory), …])
    each copy_(parameter's slice, tensor's slice) on the way is written down and not made
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from vllm.model_executor.model_loader.reload.layerwise import _get_original_loader, _place_kernel_tensors, get_layerwise_info
from vllm.model_executor.model_loader.reload.meta import restore_layer_on_meta
from vllm.model_executor.model_loader.reload.utils import get_layer_params_buffers, get_layer_tensors

from rollout.transfer.meeting import torch_dtype
from rollout.transfer.proof import Manifest


class NotLearned(Exception):
    """vLLM's loaders do something else than copy slices; the message says what."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A view of a tensor, by the numbers of elements that torch addresses it with."""

    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, view: Tensor) -> "Slice":
        """Where a view lies in a tensor that begins its storage."""
        return cls(int(view.storage_offset()), tuple(view.size()), tuple(view.stride()))

    def within(self, tensor: Tensor) -> Tensor:
        """This view of a contiguous tensor, wherever in its storage that begins."""
        return tensor.as_strided(self.size, self.stride, tensor.storage_offset() + self.offset)

    @property
    def numel(self) -> int:
        return torch.Size(self.size).numel()


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a loader: a slice of a checkpoint's tensor becomes a slice of a layer's tensor."""

    source: str
    taken: Slice
    put: Slice


@dataclass(slots=True)
class LayerCopies:
    """What the loaders write into one layer, tensor by tensor, and what those tensors look like before vLLM repacks them."""

    name: str
    layer: nn.Module
    copies: dict[str, list[Copy]] = field(default_factory=dict)
    loaded: dict[str, Tensor] = field(default_factory=dict)  # of the same names, without memory

    def covered(self, name: str) -> int:
        """Numbers of a tensor that are written."""
        return sum(copy.put.numel for copy in self.copies.get(name, ()))


class Recorder(TorchDispatchMode):
    """Writes every copy into known tensors down instead of making it."""

    def __init__(self, into: dict[int, tuple[LayerCopies, str]], sources: dict[int, str]) -> None:
        super().__init__()
        self.into, self.sources = into, sources

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.aten.copy_.default:
            return func(*args, **(kwargs or {}))
        put, taken = args[:2]
        layer, name = self.into.get(_storage(put), (None, ""))
        source = self.sources.get(_storage(taken))
        if layer is None or source is None:
            raise NotLearned(
                f"a copy into {layer.name + '.' + name if layer else 'an unknown tensor'} comes from {source or 'a computation'}"
            )
        if put.shape != taken.shape:
            taken = taken.expand(put.shape)
        layer.copies.setdefault(name, []).append(Copy(source, Slice.of(taken), Slice.of(put)))
        return put


def learn_copies(model: nn.Module, manifest: Manifest) -> list[LayerCopies]:
    """The copies that load a checkpoint of this manifest, of every layer in the model's order; NotLearned if they are not all there is."""
    weights = [(entry.name, torch.empty(entry.shape, dtype=torch_dtype(entry.dtype), device="meta")) for entry in manifest]
    loading: Any = model
    with as_before_repacking(model):
        found = [LayerCopies(name, layer, loaded=dict(get_layer_tensors(layer))) for name, layer in model.named_modules()]
        into = {_storage(tensor): (layer, name) for layer in found for name, tensor in layer.loaded.items()}
        with torch.no_grad(), Recorder(into, {_storage(tensor): name for name, tensor in weights}):
            try:
                loading.load_weights(weights)
            except (RuntimeError, NotImplementedError) as error:  # of an operation that a tensor without memory does not know
                raise NotLearned(f"a loader computes: {str(error).splitlines()[0]}") from error
    return found


@contextmanager
def as_before_repacking(model: nn.Module) -> Iterator[None]:
    """Within it the layers have the tensors that vLLM's loaders write, without memory; then their own tensors again."""
    infos = [(layer, get_layerwise_info(layer)) for layer in model.modules()]
    for layer, info in infos:
        info.kernel_tensors = get_layer_params_buffers(layer)
        info.kernel_non_persistent_buffers = set(layer._non_persistent_buffers_set)
        restore_layer_on_meta(layer, info)
        for tensor in get_layer_tensors(layer).values():
            if hasattr(tensor, "weight_loader"):
                tensor.weight_loader = _get_original_loader(tensor)  # an earlier reload has left its own around it, which loads nothing now
    try:
        yield
    finally:
        for layer, info in infos:
            _place_kernel_tensors(layer, info)
            info.reset()


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
