"""The memory table of a run: what lies on each kind of GPU and in host memory, at which moment most, and whether it fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from configs.arithmetic import GB, amount
from configs.memory.engine import FULL, Cache, cache, cache_bytes, chunk_bytes, engine_place, live_chunks
from configs.memory.learner import rank_place
from configs.memory.parts import Place
from configs.memory.shared import host_place, shared_place
from configs.memory.sizes import Sizes, sizes_of
from configs.schema import Config

GPU_GB = 80.0  # assumed where no GPU is in sight
SEEN = 0.99 * (1 << 30)  # bytes that CUDA shows for each nominal GB of a GPU
ROOM = 2.0  # whole contexts below which an engine hardly works
SMALL = 0.01  # of a peak
TOY = 100e6  # parameters below which memory decides nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The places of a run, and the engines' cache."""

    gpu: float  # bytes of a GPU
    gpus: Sequence[Place]
    host: Place
    cache: Cache
    sizes: Sizes


def memory_of(config: Config, model: dict[str, Any], gpu_gb: float = GPU_GB) -> Memory | None:
    """The memory of a run on GPUs of nominally `gpu_gb` GB; None where the model cannot be counted."""
    sizes = sizes_of(model)
    if sizes is None:
        return None
    gpu = gpu_gb * SEEN
    if config.placement.share:
        gpus = [shared_place(config, sizes, gpu)]
    else:
        chunks = live_chunks(config, sizes, gpu) * chunk_bytes(config, sizes)
        gpus = [rank_place(config, sizes, chunks), engine_place(config, sizes, gpu)]
    return Memory(gpu=gpu, gpus=gpus, host=host_place(config, sizes), cache=cache(config, sizes, gpu), sizes=sizes)


def describe_memory(config: Config, model: dict[str, Any], gpu_gb: float | None) -> list[str]:
    """A line for each place with the parts of its peak; `gpu_gb` is None where no GPU is in sight."""
    found = memory_of(config, model, gpu_gb or GPU_GB)
    if found is None:
        return []
    if found.sizes.total < TOY:
        return [toy(found.sizes)]
    seen = f"GPUs of {gpu_gb:.0f} GB" if gpu_gb else f"assumed GPUs of {GPU_GB:.0f} GB, as none is here"
    return [f"computed, not measured, for {seen}; GB at the peak:", *lines_of(found)]


def toy(sizes: Sizes) -> str:
    return f"{amount(sizes.total)} parameters: every GPU has room for them"


def lines_of(found: Memory) -> list[str]:
    """A line for each place, and one for keys and values."""
    kept = f"keys and values: {amount(found.cache.tokens)} tokens an engine, {found.cache.contexts:.3g} whole contexts"
    return [*(line_of(place) for place in (*found.gpus, found.host)), kept]


def line_of(place: Place) -> str:
    """`learner rank 62.3 in backward: weights 10.3 + …`, largest part first, without parts below a hundredth."""
    parts = sorted(place.at(place.peak_phase).items(), key=lambda part: -part[1])
    others = ", ".join(f"{phase} {in_gb(place.total(phase))}" for phase in place.phases if phase != place.peak_phase)
    inner = " + ".join(f"{name} {in_gb(size)}" for name, size in parts if size >= SMALL * place.peak)
    return f"{place.name} {in_gb(place.peak)} in {place.peak_phase}: {inner}" + (f" ({others})" if others else "")


def in_gb(size: float) -> str:
    """Three digits, no exponent: "0.0431", "61.1", "590"."""
    value = size / GB
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def memory_warnings(config: Config, model: dict[str, Any], gpu_gb: float | None, host: float | None = None) -> Iterator[str]:
    """A line for each place that does not fit, with what to change; `host` is a learner node's memory in bytes, None where unknown."""
    found = memory_of(config, model, gpu_gb or GPU_GB)
    if found is None or found.sizes.total < TOY:
        return
    on = f"a GPU of {gpu_gb or GPU_GB:.0f} GB" + ("" if gpu_gb else " (assumed)")
    for place in found.gpus:
        if place.peak > FULL * found.gpu:
            yield (
                f"memory: {place.name} would hold about {in_gb(place.peak)} GB in {place.peak_phase}, and {on} has "
                f"{in_gb(found.gpu)} GB: {remedy(place)}"
            )
    if host is not None and found.host.peak > host:
        yield (
            f"memory: a learner node would use about {in_gb(found.host.peak)} GB of host memory in {found.host.peak_phase}, and "
            f"this machine has {in_gb(host)} GB: more nodes or ranks, a smaller model, or no offload_optimizer"
        )
    if cache_bytes(config, found.sizes, found.gpu) <= 0 or found.cache.contexts < ROOM:
        yield (
            f"memory: an engine has room for {found.cache.contexts:.2g} whole contexts of {config.context_tokens} tokens on {on}: raise "
            "rollout.vllm.tensor_parallel_size or gpu_memory_utilization, or lower max_num_batched_tokens"
        )


def remedy(place: Place) -> str:
    """What to change for a place that is too full in its peak phase."""
    if place.name == "engine GPU" or place.peak_phase == "generate":
        return "lower rollout.vllm.gpu_memory_utilization"
    if place.peak_phase == "backward":
        return (
            "lower learner.micro_batch_tokens or head_chunk_tokens, set learner.gradient_checkpointing = true, or divide more: "
            "learner.ranks, zero_optimization.stage, expert_parallel, offload_optimizer"
        )
    return "divide more of the learner: learner.ranks, zero_optimization.stage, expert_parallel, or offload_optimizer"
