"""What a GPU holds in the turns of an engine and a rank that share it: arithmetic from the config and the model, unmeasured."""

from dataclasses import dataclass
from typing import Any

from configs.arithmetic import GB, gpus_per_engine, has_masters, optimizer_bytes, weight_bytes
from configs.parameters import count_parameters
from configs.rules.placement import SHARED_UTILIZATION
from configs.schema import Config
from configs.tables import inner_table

OWN = 2e9  # bytes that a process keeps whoever's turn it is: CUDA context, kernels, graphs, NCCL's buffers
BUCKET = 0.3e9  # of a publish
OPTIMIZER, GRADIENTS, WEIGHTS = 1, 2, 3  # the ZeRO stages that begin to shard them


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Bytes on one GPU."""

    states: float  # of the rank: weights, gradients, optimizer, reference
    weights: float  # of the engine's worker

    @property
    def learning(self) -> float:
        """In the ranks' turn, without activations and gathered layers."""
        return self.states + 2 * OWN

    @property
    def publishing(self) -> float:
        """While the rank sends and the engine's cache still sleeps."""
        return self.states + self.weights + 2 * OWN + BUCKET


def turns(config: Config, model: dict[str, Any]) -> Turns | None:
    """What both sides hold; None where the model's parameters cannot be counted."""
    found = count_parameters(model)
    if found is None:
        return None
    stage, ranks = config.learner.zero_stage, config.learner.ranks
    weight = weight_bytes(config)
    offloaded = inner_table(config.learner.deepspeed, ("zero_optimization", "offload_optimizer")).get("device", "none") != "none"
    masters_and_gradients = 0.0 if offloaded else optimizer_bytes(config) / (ranks if stage >= OPTIMIZER else 1)
    masters_and_gradients += 0.0 if offloaded else weight / (ranks if stage >= GRADIENTS else 1)
    copies = 2 if config.kl.reference else 1
    own = copies * weight / (ranks if stage >= WEIGHTS else 1)
    engine = 4 if config.engine_dtype == "float32" else 2
    return Turns(states=found.total * (masters_and_gradients + own), weights=found.total * engine / gpus_per_engine(config))


def describe_sharing(config: Config, model: dict[str, Any]) -> list[str]:
    """A line about shared GPUs, if there are any and the model can be counted."""
    held = turns(config, model) if config.placement.share else None
    if held is None:
        return []
    return [
        f"shared GPUs: in the ranks' turn a GPU holds about {held.learning / GB:.3g} GB plus activations, at a publish "
        f"{held.publishing / GB:.3g} GB (states {held.states / GB:.3g}, the engine's weights {held.weights / GB:.3g}, both processes' own "
        f"{2 * OWN / GB:g}), in the engine's turn {utilization(config):g} of it and {OWN / GB:g} GB"
    ]


def refuse_engines_beside_ranks(config: Config, model: dict[str, Any], gpu_bytes: float) -> None:
    """Raise ValueError, with the arithmetic, if an engine and a rank do not fit on a GPU of `gpu_bytes` in one of their turns."""
    held = turns(config, model) if config.placement.share else None
    if held is None:
        return
    if held.publishing > gpu_bytes:
        raise ValueError(
            f"placement.share got true: at a publish a GPU holds {held.states / GB:.3g} GB of the rank's states + "
            f"{held.weights / GB:.3g} GB of the engine's weights + {2 * OWN / GB:g} GB that both processes keep + {BUCKET / GB:g} GB of a "
            f"bucket = {held.publishing / GB:.3g} GB, but a GPU here has {gpu_bytes / GB:.3g} GB: "
            + ("" if has_masters(config) or config.model.dtype == "bfloat16" else 'use model.dtype = "bfloat16", ')
            + "raise zero_optimization.stage, learner.ranks or rollout.vllm.tensor_parallel_size, or set offload_optimizer"
        )
    resting = (1 - utilization(config)) * gpu_bytes
    if resting < OWN:
        most = int(100 * (1 - OWN / gpu_bytes)) / 100
        raise ValueError(
            f"rollout.vllm.gpu_memory_utilization got {utilization(config):g} with placement.share = true: {resting / GB:.3g} GB of "
            f"{gpu_bytes / GB:.3g} GB are left beside the engine, but a resting rank keeps about {OWN / GB:g} GB: use at most {most:g}"
        )


def utilization(config: Config) -> float:
    """The part of a GPU that an awake engine takes."""
    return float(config.rollout.vllm.get("gpu_memory_utilization", SHARED_UTILIZATION))
