"""How a vLLM model is patched: its own tensors on a GPU, whole tensors beside it on CPU, where vLLM serves packed ones."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
from vllm.platforms import current_platform

from rollout.delta.held import Held, InPlace, Kept, Weights
from rollout.delta.places import NoPlace, Slice, Spot, spots
from rollout.transfer.proof import Manifest
from rollout.worker.direct import refuse_what_is_not_whole
from rollout.worker.learned_copies import LayerCopies, learn_copies
from rollout.worker.loading import Loading

# What these serve with on a GPU is what they load, unless a kernel shuffles it, which the first whole publish shows.
SERVED_AS_LOADED = (UnquantizedLinearMethod, UnquantizedEmbeddingMethod, UnquantizedFusedMoEMethod)


def hold(model: nn.Module, manifest: Manifest, loading: Loading) -> Held:
    """What patches of the manifest's tensors change; NotLearned or NoPlace, with the reason, if nothing can."""
    if current_platform.is_cpu():
        return Kept(lambda weights: reload(loading, weights))
    return InPlace(places_of(model, manifest))


def reload(loading: Loading, weights: Weights) -> None:
    """Load whole tensors as a publish does; nothing is digested."""
    loading.begin(loading.manifest)
    loading.bring(list(weights))
    loading.end()


def places_of(model: nn.Module, manifest: Manifest) -> Mapping[str, Sequence[Spot]]:
    """Where each number of a checkpoint lies in the served tensors; no spots for a tensor that the model leaves out."""
    found = learn_copies(model, manifest)
    refuse_what_is_not_whole(found)
    numbers = {entry.name: torch.Size(entry.shape).numel() for entry in manifest}
    out: dict[str, list[Spot]] = {name: [] for name in numbers}
    for layer in found:
        for name, made in layer.copies.items():
            served = _served(layer, name)
            by_source: dict[str, list[tuple[Slice, Slice]]] = defaultdict(list)
            for copy in made:
                taken, put = copy.taken, copy.put
                pair = Slice(taken.offset, taken.size, taken.stride), Slice(put.offset, put.size, put.stride)
                by_source[copy.source].append(pair)
            for source, pairs in by_source.items():
                out[source] += spots(pairs, served, numbers[source], source)
    return out


def _served(layer: LayerCopies, name: str) -> Tensor:
    """The served tensor that a layer loads under a name; NoPlace if it may be another one than it was loaded as."""
    method = getattr(layer.layer, "quant_method", None)
    if method is not None and type(method) not in SERVED_AS_LOADED:
        raise NoPlace(f"{layer.name} serves by {type(method).__name__}")
    tensor: Tensor | None = layer.layer._parameters.get(name)
    tensor = layer.layer._buffers.get(name) if tensor is None else tensor
    loaded = layer.loaded[name]
    if tensor is None or (tensor.shape, tensor.stride(), tensor.dtype) != (loaded.shape, loaded.stride(), loaded.dtype):
        raise NoPlace(f"{layer.name}.{name} is served in another form than it is loaded")
    return tensor.data
