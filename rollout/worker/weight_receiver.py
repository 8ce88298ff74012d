"""The engine's end of a weight transfer: a gloo backend for vLLM, and the proof of what was loaded.

vLLM imports this module in every worker process (`worker_extension_cls`), which also registers the backend there, and the norms of CPUs.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed import TCPStore
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.utils.network_utils import get_ip

from rollout.transfer.buckets import TwoBuffers, arriving, streamed, unpacked
from rollout.transfer.digest import read, sums
from rollout.transfer.gloo_group import RecallableGloo
from rollout.transfer.lanes import accept, received
from rollout.transfer.meeting import GlooGroup, free_bytes, open_gloo, open_store
from rollout.transfer.proof import Proof, manifest_of
from rollout.transfer.recall import Line
from rollout.transfer.threads import half_the_threads
from rollout.worker import cpu_norms  # noqa: F401 - registers them, before the worker asks for them
from rollout.worker.loading import Loading
from rollout.worker.patch_receiver import PatchReceiver
from rollout.worker.reload import abandon_reload, incomplete_layers, missing_buffers


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
    """Receives whole checkpoints in buckets over a gloo group; while it loads one bucket, the next arrives."""

    init_info_cls = GlooInitInfo
    update_info_cls = GlooUpdateInfo
    store: TCPStore | None = None
    group: GlooGroup | None = None
    halves: Sequence[torch.Tensor] = ()  # of the memory that all members share; empty where buckets come over the wire

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loading, self.buffers = Loading(self.model, self.model_config), TwoBuffers()

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        """Meet the learner and the other engines' workers in a group, and agree with them how buckets travel."""
        rank = init_info.rank_offset + self.parallel_config.rank
        store = open_store(init_info.host, init_info.port, init_info.world_size, init_info.deadline_s)
        self.bucket_bytes = init_info.bucket_bytes
        line = Line(store, init_info.name, init_info.deadline_s)
        line.meet(init_info.world_size)
        self.store = store  # the group uses it until every pair of ranks is connected
        group = open_gloo(store, init_info.name, init_info.bind or get_ip(), rank, init_info.world_size, init_info.deadline_s)
        self.group = RecallableGloo(group, line)
        self.halves = accept(line, init_info.world_size - 1)

    def start_weight_update(self) -> None:
        """Nothing yet: how to load a publish depends on its manifest."""

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        """Take part in every broadcast and load its tensors into the model, bucket by bucket."""
        assert self.group is not None, "an engine joins the transfer group before it receives"
        manifest = manifest_of(zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True))
        self.loading.begin(manifest)
        plan = streamed(manifest, self.bucket_bytes)
        arrived = received(self.group, plan, self.halves) if self.halves else arriving(self.group, plan, self.buffers.room)
        for bucket, buffer in arrived:
            self.loading.load(unpacked(buffer.clone() if self.loading.keeps else buffer, bucket))

    def finish_weight_update(self) -> None:
        self.loading.end()

    def shutdown(self) -> None:
        self.group = None
        self.store = None
        self.halves = ()


class WeightReceiver(PatchReceiver):
    """Mixed into vLLM's worker: watches one publish and reports what it saw."""

    _watched = False  # between the start of a publish and its proof

    def room(self) -> int:
        """Bytes that this worker can still take of its GPU."""
        return free_bytes()

    def why_reloaded(self) -> str:
        """Why publishes are loaded by vLLM's own reload; nothing if they are loaded by learned copies."""
        loading = getattr(self.weight_transfer_engine, "loading", None)  # type: ignore[attr-defined]
        return loading.refused if loading is not None else "they arrive over NCCL"

    def take_part(self, method: str, info: dict[str, Any]) -> str:
        """Call a method of the worker that waits for other members of the group; returns what broke it off, or nothing.

        It raises nothing: with several workers vLLM takes the answers of an engine up to the first error, and would take those that are
        left for the answers to the next call.
        """
        return without_raising(getattr(self, method), info)

    def leave_group(self) -> None:
        """Free an earlier transfer group: vLLM only drops its reference, and NCCL would keep its buffers and threads on the GPU."""
        engine: Any = self.weight_transfer_engine  # type: ignore[attr-defined]
        group = getattr(engine, "model_update_group", None)  # only NCCL has one
        if group is not None:
            group.destroy()
        engine.shutdown()

    def take_publish(self, info: dict[str, Any]) -> tuple[str, Proof, list[str]]:
        """Receive, load and prove one publish: what broke it off, else nothing, the digests, and the layers that are not whole."""
        found: list[tuple[Proof, list[str]]] = []

        def take(info: dict[str, Any]) -> None:
            worker: Any = self
            self.whole_begins()
            self.watch_publish()
            worker.start_weight_update()
            worker.update_weights(info)
            # Before the update is finished, while vLLM still counts.
            found.append(self.publish_proof())
            worker.finish_weight_update()
            self.whole_is_loaded(*found[0])

        with half_the_threads():
            broken = without_raising(take, info)
        return (broken, {}, []) if broken else (broken, *found[0])

    def watch_publish(self) -> None:
        """Have every tensor of the next transfer digested."""
        engine: Any = self.weight_transfer_engine  # type: ignore[attr-defined]
        model = engine.model
        self._sums: dict[str, torch.Tensor] = {}
        self._watched = True
        if isinstance(engine, GlooWeightTransferEngine):
            return  # it does so itself
        load = type(model).load_weights

        def load_and_digest(weights: Any) -> Any:
            pairs = list(weights)
            self._sums.update((name, sums(tensor)) for name, tensor in pairs)
            self.see(pairs)
            loaded = load(model, pairs)
            if any(tensor.is_cuda for _, tensor in pairs):
                # vLLM receives chunks on streams in turn and loads a layer once its last tensor is there. Without the wait the memory of
                # an earlier chunk, which belongs to another stream, could be written again before the layer has read it.
                torch.cuda.current_stream().synchronize()
            return loaded

        # An instance attribute shadows the method for the transfer engine only; `publish_proof` removes it.
        object.__setattr__(model, "load_weights", load_and_digest)

    def publish_proof(self) -> tuple[Proof, list[str]]:
        """The digests received since `watch_publish`, and every layer of the model that was not written in full."""
        engine: Any = self.weight_transfer_engine  # type: ignore[attr-defined]
        self._watched = False
        if isinstance(engine, GlooWeightTransferEngine):
            return engine.loading.proof()
        engine.model.__dict__.pop("load_weights", None)
        proof, self._sums = read(self._sums), {}
        return proof, [*incomplete_layers(engine.model), *missing_buffers(engine.model, proof)]

    def abandon_publish(self) -> None:
        """Abandon an update that failed half-way. A proven update stays as it is."""
        if not self._watched:
            return
        self._watched = False
        engine: Any = self.weight_transfer_engine  # type: ignore[attr-defined]
        if isinstance(engine, GlooWeightTransferEngine):
            engine.loading.abandon()
        else:
            engine.model.__dict__.pop("load_weights", None)
            abandon_reload(engine.model, engine.model_config)
        self._weight_update_active = False


def without_raising(work: Callable[[dict[str, Any]], object], info: dict[str, Any]) -> str:
    """Do it; what broke it off, or nothing."""
    try:
        work(info)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return ""


if "gloo" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("gloo", GlooWeightTransferEngine)
if "recallable_nccl" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("recallable_nccl", "rollout.worker.nccl_receiver", "RecallableNcclEngine")
if "beside" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("beside", "rollout.worker.beside_receiver", "BesideWeightTransferEngine")
