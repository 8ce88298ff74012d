"""Loading a checkpoint into a model that serves on CPU by learned copies: each number is copied or packed once.

    tensor ──► learned copies ──► the served tensor itself                                    norms, embeddings, biases
                             ├──► scratch ──► vLLM's packing of the layer ──► its kernel      linear layers
                             └──► vLLM's packing of all experts ──► the served tensor         experts

vLLM's own reload copies into fresh memory, packs into fresh memory, and copies once more; it also counts each copy, which takes longer than
the copies of a small tensor. A model with a layer of another kind is not loaded this way: `NotLearned`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.attention import Attention, is_deferred_attention_layer
from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts
from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod, VocabParallelEmbedding
from vllm.model_executor.model_loader.reload.meta import SKIP_LOAD_TENSORS

from rollout.transfer.proof import Manifest
from rollout.worker.learned_copies import Copy, LayerCopies, NotLearned, learn_copies
from rollout.worker.reload import repack_tied_heads

EXPERTS = ("w13_weight", "w2_weight")


class Scratch:
    """Memory in which layers are put together before vLLM packs them; layers of one shape share it one after the other."""

    def __init__(self) -> None:
        self.free: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)

    def take(self, like: Tensor) -> Tensor:
        free = self.free[like.shape, like.dtype]
        return free.pop() if free else torch.empty(like.shape, dtype=like.dtype)

    def give(self, tensor: Tensor) -> None:
        self.free[tensor.shape, tensor.dtype].append(tensor)


class DirectLayer:
    """A layer whose tensors are all served as they are loaded."""

    packed: tuple[str, ...] = ()  # names of tensors that the layer serves in another form

    def __init__(self, copies: LayerCopies, scratch: Scratch) -> None:
        self.name, self.layer, self.loaded, self.scratch = copies.name, copies.layer, copies.loaded, scratch
        self.copies: dict[str, list[tuple[str, Copy]]] = defaultdict(list)  # by source
        for name, made in copies.copies.items():
            for copy in made:
                self.copies[copy.source].append((name, copy))
            if name not in self.packed and not _alike(self.served(name), self.loaded[name]):
                raise NotLearned(f"{self.name}.{name} is served in another form than it is loaded")
        self.left: set[str] = set()
        self.parts: dict[str, Tensor] = {}
        self.begin()

    def begin(self) -> None:
        """Expect every tensor anew."""
        self.left = set(self.copies)
        self.release()

    def take(self, source: str, tensor: Tensor) -> None:
        """Bring one tensor's share of the layer to its places; the last one completes the layer."""
        self.put(source, tensor)
        self.left.discard(source)
        if not self.left:
            self.complete()
            self.release()

    def put(self, source: str, tensor: Tensor) -> None:
        for name, copy in self.copies[source]:
            copy.put.within(self.room(name)).copy_(copy.taken.within(tensor))

    def release(self) -> None:
        """Give the scratch memory back."""
        for part in self.parts.values():
            self.scratch.give(part)
        self.parts = {}

    def room(self, name: str) -> Tensor:
        """Where a tensor of the layer is put together."""
        if name not in self.packed:
            return self.served(name)
        if name not in self.parts:
            self.parts[name] = self.scratch.take(self.loaded[name])
        return self.parts[name]

    def served(self, name: str) -> Tensor:
        """A tensor that the layer serves with."""
        found: Tensor | None = self.layer._parameters.get(name)
        found = self.layer._buffers.get(name) if found is None else found
        assert found is not None, f"{self.name} has no tensor {name}"
        return found.data

    def complete(self) -> None:
        """Let the layer serve with what was put together."""


class DirectEmbedding(DirectLayer):
    """An embedding or a head: served as it is, with a packed copy for the head's product."""

    def complete(self) -> None:
        layer: Any = self.layer
        layer.quant_method.process_weights_after_loading(layer)


class DirectLinear(DirectLayer):
    """A linear layer: vLLM packs its weight into a kernel, and may keep none beside it."""

    packed = ("weight",)

    def complete(self) -> None:
        """Have vLLM pack the weight that was put together; NotLearned if it leaves the layer another one than before."""
        layer: Any = self.layer
        served = layer.weight
        layer.register_parameter("weight", nn.Parameter(self.parts["weight"], requires_grad=False))
        try:
            layer.quant_method.process_weights_after_loading(layer)
            if layer.weight.shape != served.shape:
                raise NotLearned(f"vLLM leaves {self.name} a weight of {tuple(layer.weight.shape)}, not {tuple(served.shape)}")
            served.data.copy_(layer.weight)
        finally:
            layer.register_parameter("weight", served)


class DirectExperts(DirectLayer):
    """The experts of a layer, which vLLM packs as one tensor; where a checkpoint has them as one too, they are packed from there."""

    packed = EXPERTS

    def __init__(self, copies: LayerCopies, scratch: Scratch) -> None:
        super().__init__(copies, scratch)
        layer: Any = self.layer
        self.experts = getattr(layer.quant_method.moe_kernel, "fused_experts", None)
        if not isinstance(self.experts, CPUUnquantizedExperts) or self.experts._use_zentorch:
            raise NotLearned(f"{self.name} serves with {type(self.experts).__name__}")
        for name in EXPERTS:
            if not _alike(self.served(name), self.loaded[name]):
                raise NotLearned(f"vLLM pads {self.name}.{name}")
        self.whole = {source: name for name in EXPERTS if (source := _only_source(copies, name))}

    def put(self, source: str, tensor: Tensor) -> None:
        name = self.whole.get(source, "")
        if name and _alike(tensor, self.loaded[name]):
            self._pack(tensor, name)
        else:
            super().put(source, tensor)

    def complete(self) -> None:
        for name, part in self.parts.items():
            self._pack(part, name)

    def _pack(self, weight: Tensor, name: str) -> None:
        assert isinstance(self.experts, CPUUnquantizedExperts)
        torch.ops._C.prepack_moe_weight(weight, self.served(name), self.experts.isa)


KINDS: dict[type[Any], type[DirectLayer]] = {
    UnquantizedEmbeddingMethod: DirectEmbedding,
    UnquantizedLinearMethod: DirectLinear,
    UnquantizedFusedMoEMethod: DirectExperts,
}


class DirectLoader:
    """Loads checkpoints of one manifest into one model, tensor by tensor, in the manifest's order or any other."""

    def __init__(self, model: nn.Module, manifest: Manifest) -> None:
        """Learn the copies; NotLearned if a layer is of a kind that they cannot load, or is not loaded whole."""
        found, scratch = learn_copies(model, manifest), Scratch()
        refuse_what_is_not_whole(found)
        self.model, self.manifest = model, manifest
        self.layers = [kind_of(layer)(layer, scratch) for layer in found if layer.copies]
        self.takers: dict[str, list[DirectLayer]] = defaultdict(list)
        for layer in self.layers:
            for source in layer.copies:
                self.takers[source].append(layer)

    def begin(self) -> None:
        """Expect a whole checkpoint. What an earlier one has left half-done is forgotten."""
        for layer in self.layers:
            layer.begin()

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take some tensors; they are not looked at afterwards."""
        with torch.no_grad():
            for name, tensor in weights:
                for layer in self.takers.get(name, ()):
                    layer.take(name, tensor)

    def unfinished(self) -> list[str]:
        """The layers that miss some tensors."""
        return [f"{layer.name} (without {', '.join(sorted(layer.left))})" for layer in self.layers if layer.left]

    def end(self) -> None:
        """Serve with what was loaded."""
        repack_tied_heads(self.model)


def kind_of(copies: LayerCopies) -> type[DirectLayer]:
    """How a layer is loaded; NotLearned if vLLM does something else with its tensors after loading."""
    method = getattr(copies.layer, "quant_method", None)
    if is_deferred_attention_layer(copies.layer):
        raise NotLearned(f"{copies.name} has weights and is an attention layer")
    if method is None:
        return DirectLayer
    if type(method) not in KINDS:
        raise NotLearned(f"{copies.name} serves by {type(method).__name__}")
    return KINDS[type(method)]


def refuse_what_is_not_whole(layers: Iterable[LayerCopies]) -> None:
    """NotLearned if loaders write a layer in part, or an attention layer makes weights of its own of another layer's."""
    layers = list(layers)
    written = {id(layer.layer._parameters.get(name)) for layer in layers for name in layer.copies}
    for layer in layers:
        if is_deferred_attention_layer(layer.layer) and type(layer.layer) is not Attention:
            raise NotLearned(f"{layer.name} is a {type(layer.layer).__name__}, which makes weights of its own")
        for name in _loadable(layer):
            covered, whole = layer.covered(name), layer.loaded[name].numel()
            tied = isinstance(layer.layer, ParallelLMHead) and id(layer.layer._parameters.get(name)) in written
            # No checkpoint has the rows that pad a vocabulary to a round number.
            padded = isinstance(layer.layer, VocabParallelEmbedding) and 0 < covered < whole
            if covered != whole and not tied and not padded:
                raise NotLearned(f"{layer.name}.{name} is written in part ({covered} of {whole} numbers)")


def _loadable(layer: LayerCopies) -> Iterator[str]:
    """The tensors that vLLM counts, of a layer that has parameters."""
    if layer.layer._parameters:
        yield from (name for name in layer.loaded if name not in SKIP_LOAD_TENSORS)


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.stride() == other.stride() and one.dtype == other.dtype


def _only_source(copies: LayerCopies, name: str) -> str | None:
    """The tensor that a checkpoint has in the layer's own form, where the layer's tensor comes from one."""
    made = copies.copies.get(name, [])
    sources = {copy.source for copy in made}
    return sources.pop() if len(sources) == 1 and all(copy.put == copy.taken for copy in made) else None
