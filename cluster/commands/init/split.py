"""How a machine's GPUs are divided between engines and learner ranks, so that both fit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cluster.commands.init.machine import MOST_GPUS, Machine
from cluster.commands.init.model import Model
from configs.arithmetic import GB, counted

WEIGHT, GRADIENT, ADAM, FLOAT32 = 2, 4, 12, 4  # bytes of a parameter: bf16, fp32 sums, fp32 master weight with two moments, fp32
# GB of a rank for checkpointed activations, gathered layers, logits, buffers and CUDA, by parameters below which they are enough.
SPARE_GB = ((100e6, 3), (1e9, 6), (float("inf"), 12))
ENGINE_SHARE = 0.45  # of a GPU for an engine's weights; about as much is left for keys and values
USABLE = 0.9  # of a GPU's memory for a rank
ASLEEP_GB = 2.5  # what a sleeping engine keeps on a shared GPU
PUBLISH_GB = 2.5  # of a shared GPU for CUDA and the pieces of a publish
CPU_BYTES = 7 * FLOAT32  # of a parameter on a machine without GPUs: weights, gradient and two moments of a rank, an engine, two copies sent
TENSOR_SIZES = (1, 2, 4, 8)
GRADIENTS_SHARED, WEIGHTS_SHARED = 2, 3  # ZeRO stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Engines and ranks of a run, and how a rank holds its share."""

    engines: int
    tensor_parallel: int
    ranks: int
    zero_stage: int
    offload: bool  # the optimizer's state is in host memory
    share: bool = False  # a rank lies on every GPU of every engine, and both sides take turns
    why: str


def split_gpus(machine: Machine, model: Model) -> Split:
    """Divide the GPUs about evenly, or share them where they are too few; ValueError, with the arithmetic, where neither fits."""
    tensor = next(
        (size for size in engine_sizes(machine, model) if WEIGHT * model.parameters / size <= ENGINE_SHARE * machine.gpu_gb * GB), None
    )
    if tensor is None:
        raise ValueError(
            f"{model.path} has {model.parameters / 1e9:.3g}B parameters, whose bf16 weights take {WEIGHT * model.parameters / GB:.0f} GB: "
            f"an engine of at most {counted(max(engine_sizes(machine, model)), 'GPU')} of {machine.gpu_gb:.0f} GB leaves too little for "
            "keys and values. Give --gpu-memory and --gpus-per-node of larger machines, or a smaller model"
        )
    for ranks, stage, offload in holdings(machine.gpus, tensor):
        if rank_gb(model, ranks, stage, offload) <= USABLE * machine.gpu_gb:
            return Split(
                engines=(machine.gpus - ranks) // tensor,
                tensor_parallel=tensor,
                ranks=ranks,
                zero_stage=stage,
                offload=offload,
                why=f"about {rank_gb(model, ranks, stage, offload):.0f} of {machine.gpu_gb:.0f} GB a rank, "
                f"{spare_gb(model)} of them for activations and logits",
            )
    if (shared := share_gpus(machine, model, tensor)) is not None:
        return shared
    raise ValueError(too_few(machine, model, tensor))


def share_gpus(machine: Machine, model: Model, tensor: int) -> Split | None:
    """Engines and ranks in turns on the same GPUs; None where they do not fit.

    A GPU holds most while its rank learns beside a sleeping engine, or in a publish: then rank's states and engine's weights.
    """
    if machine.gpus % tensor:
        return None
    publish = WEIGHT * model.parameters / tensor / GB + PUBLISH_GB - spare_gb(model)
    for offload in (False, True):
        for stage in (GRADIENTS_SHARED, WEIGHTS_SHARED):
            held = rank_gb(model, machine.gpus, stage, offload) + ASLEEP_GB + max(0, publish)
            if held <= USABLE * machine.gpu_gb:
                return Split(
                    engines=machine.gpus // tensor,
                    tensor_parallel=tensor,
                    ranks=machine.gpus,
                    zero_stage=stage,
                    offload=offload,
                    share=True,
                    why=f"at most about {held:.0f} of {machine.gpu_gb:.0f} GB a GPU while ranks learn or publish",
                )
    return None


def engine_sizes(machine: Machine, model: Model) -> list[int]:
    """Tensor parallel sizes that divide the model's heads and lie in one node."""
    return [size for size in TENSOR_SIZES if model.heads % size == 0 and size <= machine.gpus_per_node]


def holdings(gpus: int, tensor: int) -> Iterator[tuple[int, int, bool]]:
    """(ranks, ZeRO stage, offload) in the order of preference: nothing offloaded, an even split, the lowest stage."""
    for offload in (False, True):
        for distance in range(gpus % 2, gpus, 2):  # between the numbers of GPUs of the two roles
            for ranks in sorted({(gpus - distance) // 2, (gpus + distance) // 2}):
                if ranks <= gpus - tensor and (gpus - ranks) % tensor == 0:
                    yield from ((ranks, stage, offload) for stage in (GRADIENTS_SHARED, WEIGHTS_SHARED))


def rank_gb(model: Model, ranks: int, stage: int, offload: bool) -> float:
    """GPU memory of a rank: ZeRO-2 shards gradients and optimizer, ZeRO-3 the weights too; offloading keeps the optimizer off the GPU."""
    weights = WEIGHT / ranks if stage == WEIGHTS_SHARED else WEIGHT
    sharded = (0 if offload else GRADIENT + ADAM) / ranks
    return model.parameters * (weights + sharded) / GB + spare_gb(model)


def spare_gb(model: Model) -> int:
    return next(size for below, size in SPARE_GB if model.parameters < below)


def too_few(machine: Machine, model: Model, tensor: int) -> str:
    needed = next((n for n in range(tensor + 1, MOST_GPUS + 1) if fits(n, tensor, machine, model)), None)
    more = f"at least about {needed} such GPUs are needed" if needed else "no number of such GPUs is enough"
    return (
        f"{counted(machine.gpus, 'GPU')} of {machine.gpu_gb:.0f} GB cannot train {model.path} "
        f"({model.parameters / 1e9:.3g}B parameters): engines take {tensor} of them each, "
        f"learner ranks share {WEIGHT + GRADIENT + ADAM} B a parameter, and they fit neither beside each other nor in turns; "
        f"{more}: give --gpus, or a smaller model"
    )


def fits(gpus: int, tensor: int, machine: Machine, model: Model) -> bool:
    """Whether the holding with the least memory a rank fits: everything divided and offloaded, all GPUs but one engine's, or in turns."""
    apart = gpus > tensor and rank_gb(model, gpus - tensor, WEIGHTS_SHARED, True) <= USABLE * machine.gpu_gb
    return apart or share_gpus(replace(machine, gpus=gpus), model, tensor) is not None


def refuse_too_large_for_cpus(machine: Machine, model: Model) -> None:
    """Raise ValueError where a model does not fit into the memory of a machine without GPUs."""
    needed = model.parameters * CPU_BYTES / GB
    if needed > machine.host_gb:
        raise ValueError(
            f"this machine has {machine.without_gpus} and {machine.host_gb:.0f} GB of memory; "
            f"{model.path} ({model.parameters / 1e9:.3g}B parameters) needs about {needed:.0f} GB on CPU: "
            "give a smaller model, or --gpus N to write a config for another machine"
        )
