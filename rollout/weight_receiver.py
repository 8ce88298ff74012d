"""The engine's end of a weight transfer: a gloo backend for vLLM, and the proof of what was loaded.

vLLM imports this module in every worker process (`worker_extension_cls`), which also registers the backend there.
"""

import traceback
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed import TCPStore
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload, get_layerwise_info, initialize_layerwise_reload
from vllm.platforms import current_platform
from vllm.utils.network_utils import get_ip

from configs.families import ROWS
from rollout.digest import read, sums
from rollout.proof import Entry, Proof, aligned, buckets, manifest_of
from rollout.recall import Line
from rollout.transfer import GlooGroup, broadcast, free_bytes, open_gloo, open_store, torch_dtype

BUFFERS = {leaf for row in ROWS for leaf in row.buffers}


@dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """Where the learner waits, and the rank of this engine's first worker in the transfer group."""

    host: str
    port: int
    name: str
    rank_offset: int
    world_size: int
    bucket_bytes: int
    deadline_s: float
    bind: str  # the address to listen on; empty for this node's own


@dataclass
class GlooUpdateInfo(WeightTransferUpdateInfo):
    """The manifest of one publish, in columns like those of vLLM's own backends."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]


class GlooWeightTransferEngine(WeightTransferEngine[GlooInitInfo, GlooUpdateInfo]):
    """Receives whole checkpoints in buckets over a gloo group and loads them layer by layer, for engines on CPU."""

    init_info_cls = GlooInitInfo
    update_info_cls = GlooUpdateInfo
    store: TCPStore | None = None
    group: GlooGroup | None = None

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        rank = init_info.rank_offset + self.parallel_config.rank
        store = open_store(init_info.host, init_info.port, init_info.world_size, init_info.deadline_s)
        self.bucket_bytes = init_info.bucket_bytes
        Line(store, init_info.name, init_info.deadline_s).meet(init_info.world_size)
        self.store = store  # the group uses it until every pair of ranks is connected
        self.group = open_gloo(store, init_info.name, init_info.bind or get_ip(), rank, init_info.world_size, init_info.deadline_s)

    def start_weight_update(self) -> None:
        if current_platform.is_cpu():
            forget_packed_experts(self.model)
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        """Take part in every broadcast and load its tensors into the model, bucket by bucket."""
        model: Any = self.model  # its `load_weights` is a convention of vLLM, not of torch
        assert self.group is not None, "an engine joins the transfer group before it receives"
        manifest = manifest_of(zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True))
        for bucket in buckets(manifest, self.bucket_bytes):
            # A fresh buffer for each bucket: the layerwise loader keeps references until the layer is complete.
            buffer = torch.empty(sum(aligned(entry.nbytes) for entry in bucket), dtype=torch.uint8)
            broadcast(self.group, buffer)
            model.load_weights(unpacked(buffer, bucket))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if current_platform.is_cpu():
            repack_tied_heads(self.model)

    def shutdown(self) -> None:
        self.group = None
        self.store = None


def unpacked(buffer: torch.Tensor, bucket: Sequence[Entry]) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a bucket by name, as views of the bytes that hold them."""
    start, weights = 0, []
    for entry in bucket:
        raw = buffer[start : start + entry.nbytes]
        weights.append((entry.name, raw.view(torch_dtype(entry.dtype)).view(entry.shape)))
        start += aligned(entry.nbytes)
    return weights


class WeightReceiver:
    """Mixed into vLLM's worker: watches one publish and reports what it saw."""

    _watched = False  # between the start of a publish and its proof

    def room(self) -> int:
        """Bytes that this worker can still take of its GPU."""
        return free_bytes()

    def take_part(self, method: str, info: dict[str, Any]) -> str:
        """Call a method of the worker that waits for other members of the group; returns what broke it off, or nothing.

        It raises nothing: with several workers vLLM takes the answers of an engine up to the first error, and would take those that are
        left for the answers to the next call.
        """
        try:
            getattr(self, method)(info)
        except Exception as error:
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"
        return ""

    def leave_group(self) -> None:
        """Free an earlier transfer group: vLLM only drops its reference, and NCCL would keep its buffers and threads on the GPU."""
        engine: Any = self.weight_transfer_engine  # type: ignore[attr-defined]
        group = getattr(engine, "model_update_group", None)  # only NCCL has one
        if group is not None:
            group.destroy()
        engine.shutdown()

    def watch_publish(self) -> None:
        """Digest every tensor that the transfer hands to the model from now on."""
        model: Any = self.weight_transfer_engine.model  # type: ignore[attr-defined]
        self._sums: dict[str, torch.Tensor] = {}
        self._watched = True
        load = type(model).load_weights

        def load_and_digest(weights: Any) -> Any:
            pairs = list(weights)
            self._sums.update((name, sums(tensor)) for name, tensor in pairs)
            loaded = load(model, pairs)
            if any(tensor.is_cuda for _, tensor in pairs):
                # vLLM receives chunks on streams in turn and loads a layer once its last tensor is there. Without the wait the memory of
                # an earlier chunk, which belongs to another stream, could be written again before the layer has read it.
                torch.cuda.current_stream().synchronize()
            return loaded

        # An instance attribute shadows the method for the transfer engine only; `publish_proof` removes it.
        object.__setattr__(model, "load_weights", load_and_digest)

    def publish_proof(self) -> tuple[Proof, list[str]]:
        """The digests received since `watch_publish`, and every layer of the model that was not written in full.

        Call it after the last tensor and before the update is finished, while vLLM still counts.
        """
        model: Any = self.weight_transfer_engine.model  # type: ignore[attr-defined]
        model.__dict__.pop("load_weights", None)
        self._watched = False
        proof, self._sums = read(self._sums), {}
        return proof, [*incomplete_layers(model), *missing_buffers(model, proof)]

    def abandon_publish(self) -> None:
        """Abandon an update that failed half-way: incomplete layers keep the weights they had before. A proven update stays as it is."""
        if not self._watched:
            return
        self._watched = False
        engine: Any = self.weight_transfer_engine  # type: ignore[attr-defined]
        engine.model.__dict__.pop("load_weights", None)
        for layer in engine.model.modules():
            info = get_layerwise_info(layer)
            info.loaded_weights = []
            info.load_numel = 0 if info.can_load() else info.load_numel
        finalize_layerwise_reload(engine.model, engine.model_config)
        self._weight_update_active = False


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


if "gloo" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("gloo", GlooWeightTransferEngine)
if "recallable_nccl" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("recallable_nccl", "rollout.nccl_receiver", "RecallableNcclEngine")
if "beside" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("beside", "rollout.beside_receiver", "BesideWeightTransferEngine")
