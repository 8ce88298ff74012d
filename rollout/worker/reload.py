"""vLLM's own reload of a whole checkpoint, layer by layer, with what it leaves out put right."""

from collections.abc import Container
from typing import Any

import torch
from vllm.config import ModelConfig
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload, get_layerwise_info, initialize_layerwise_reload
from vllm.platforms import current_platform

from configs.families import ROWS

BUFFERS = {leaf for row in ROWS for leaf in row.buffers}


def begin_reload(model: torch.nn.Module) -> None:
    """Let `model.load_weights` take a checkpoint in parts from now on."""
    if current_platform.is_cpu():
        forget_packed_experts(model)
    initialize_layerwise_reload(model)


def end_reload(model: torch.nn.Module, config: ModelConfig) -> None:
    """Serve with the checkpoint that was loaded; layers of which nothing came keep their weights."""
    finalize_layerwise_reload(model, config)
    if current_platform.is_cpu():
        repack_tied_heads(model)


def abandon_reload(model: torch.nn.Module, config: ModelConfig) -> None:
    """End a reload half-way: incomplete layers keep the weights that they had before."""
    for layer in model.modules():
        info = get_layerwise_info(layer)
        info.loaded_weights = []
        info.load_numel = 0 if info.can_load() else info.load_numel
    finalize_layerwise_reload(model, config)


def forget_packed_experts(model: torch.nn.Module) -> None:
    """Unset vLLM's expert kernels for CPUs: they pack weights only while unset, and an old one would serve the old experts."""
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


def repack_tied_heads(model: torch.nn.Module) -> None:
    """Renew the packed copy of the weights that vLLM's CPU kernels read; a reload renews it only for heads with weights of their own."""
    modules = list(model.modules())
    shared = {id(m.weight) for m in modules if isinstance(m, VocabParallelEmbedding) and not isinstance(m, ParallelLMHead)}
    for head in modules:
        if isinstance(head, ParallelLMHead) and id(head.weight) in shared:
            head.quant_method.process_weights_after_loading(head)


def incomplete_layers(model: torch.nn.Module) -> list[str]:
    """Layers that an update wrote only in part or not at all: vLLM itself would silently keep their old values."""
    infos = {name: (layer, get_layerwise_info(layer)) for name, layer in model.named_modules()}
    arrived: set[int] = set()
    for layer, info in infos.values():
        if not info.can_load():
            arrived |= {id(parameter) for parameter in layer._parameters.values()}
        elif info.load_numel and info.kernel_tensors:
            arrived |= {id(parameter) for parameter in info.kernel_tensors[0].values()}
    found = []
    for name, (layer, info) in infos.items():
        if info.load_numel_total is None or not layer._parameters:  # None for a layer that vLLM does not load
            continue
        # A head tied to the embedding has no weights of its own.
        if isinstance(layer, ParallelLMHead) and info.kernel_tensors and all(id(p) in arrived for p in info.kernel_tensors[0].values()):
            continue
        # No checkpoint has the rows that pad a vocabulary to a round number.
        whole = 1 if isinstance(layer, VocabParallelEmbedding) else info.load_numel_total
        if info.load_numel < whole:
            found.append(f"{name} ({info.load_numel} of {info.load_numel_total} numbers)")
    return found


def missing_buffers(model: torch.nn.Module, received: Container[str]) -> list[str]:
    """The families' buffers that an update has not brought. vLLM does not count them, and would serve the old ones in silence."""
    names: dict[int, list[str]] = {}
    for name, layer in model.named_modules():
        for leaf, tensor in (*layer._parameters.items(), *layer._buffers.items()):
            if leaf in BUFFERS and tensor is not None:
                names.setdefault(id(tensor), []).append(f"{name}.{leaf}")
    # Two modules may share one tensor; checkpoints call it by the name in one of them.
    return [f"{shared[0]} (never received)" for shared in names.values() if not any(name in received for name in shared)]
