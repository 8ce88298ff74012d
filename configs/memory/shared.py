"""The memory of a GPU that an engine and a rank share, and of a node's host memory."""

from configs.arithmetic import GB, MOMENT_BYTES, offloads, optimizer_bytes, weight_bytes
from configs.memory.engine import ASLEEP, engine_number, engine_place, engine_weights, reloaded, shards, utilization
from configs.memory.learner import (
    RUNTIME,
    WEIGHTS,
    divided,
    gradient_bytes,
    layer_weights,
    rank_place,
    states,
    weights,
)
from configs.memory.parts import Place
from configs.memory.sizes import Sizes
from configs.schema import Config

GPUS_A_NODE = 8
BUCKET = float(1 << 28)  # of a publish between a rank and the engine beside it; a larger tensor is a bucket of its own
PROCESS = 3e9  # host memory of a process with torch, CUDA and its libraries


def shared_place(config: Config, sizes: Sizes, gpu: float) -> Place:
    """One GPU under `placement.share`: one side sleeps while the other works, and both hold weights during a publish.

    A rank that waits has moved its states and weights to host memory; a sleeping engine has dropped its weights and its cache.
    """
    rank, engine = rank_place(config, sizes, 0), engine_place(config, sizes, gpu)
    bucket = max(BUCKET, float(engine_number(config) * sizes.largest_tensor))
    learn = {phase: {**rank.stays, **rank.phases[phase], "sleeping engine": ASLEEP} for phase in ("backward", "update")}
    return Place(
        name="shared GPU",
        stays={},
        phases={
            "generate": {**engine.stays, "waiting rank": RUNTIME},
            **learn,
            "publish": {
                **{f"rank's {name}": size for name, size in rank.stays.items()},
                **rank.phases["publish"],
                "engine's weights": engine_weights(config, sizes),
                "sleeping engine": ASLEEP,
                "a layer loaded": reloaded(config, sizes),
                "bucket, sent and received": 2 * bucket,
            },
        },
    )


def refuse_no_room(config: Config, sizes: Sizes, gpu: float) -> None:
    """Raise ValueError, with the arithmetic, where what both sides keep for certain is more than a GPU of `gpu` bytes has."""
    rank = sum(rank_place(config, sizes, 0).stays.values()) - RUNTIME
    engine = engine_weights(config, sizes)
    both = rank + engine + RUNTIME + ASLEEP
    if both > gpu:
        raise ValueError(
            f"placement.share got true: at a publish a GPU holds {rank / GB:.3g} GB of the rank's states, {engine / GB:.3g} GB of the "
            f"engine's weights and about {(RUNTIME + ASLEEP) / GB:.3g} GB of both processes = {both / GB:.3g} GB, but a GPU here has "
            f"{gpu / GB:.3g} GB: raise zero_optimization.stage, learner.ranks or rollout.vllm.tensor_parallel_size, "
            "or set offload_optimizer"
        )
    awake = utilization(config)
    resting = (1 - awake) * gpu
    if resting < RUNTIME:
        raise ValueError(
            f"rollout.vllm.gpu_memory_utilization got {awake:g} with placement.share = true: {resting / GB:.3g} GB of "
            f"{gpu / GB:.3g} GB are left beside the engine, but a waiting rank keeps about {RUNTIME / GB:g} GB: "
            f"use at most {int(100 * (1 - RUNTIME / gpu)) / 100:g}"
        )


def host_place(config: Config, sizes: Sizes) -> Place:
    """Host memory of a node full of ranks (and of engines, where they share its GPUs), without Ray's object store and page cache."""
    ranks, share = min(config.learner.ranks, GPUS_A_NODE), config.placement.share
    division = divided(config, sizes)
    moved = sum(weights(config, sizes).values()) + sum(states(config, sizes).values()) if share else 0
    offloaded = (optimizer_bytes(config) + gradient_bytes(config) + MOMENT_BYTES) * division.part if offloads(config) else 0
    mine = weights(config, sizes)["weights"]
    # What a checkpoint copies: float32 weights and both moments, and a reference that is renewed.
    snapshot = (3 * MOMENT_BYTES + (weight_bytes(config) if config.kl.refresh_every else 0)) * division.part
    past = mine * config.run.max_staleness if config.mismatch.share and config.run.max_staleness else 0
    engines = min(config.rollout.fewest_engines * shards(config), GPUS_A_NODE) if share else 0
    layer = weight_bytes(config) * (sizes.layer if config.learner.zero_stage == WEIGHTS else layer_weights(config, sizes))
    return Place(
        name="learner node's host",
        stays={"processes": (ranks + engines) * PROCESS},
        phases={
            "load": {"shards": ranks * mine, "two layers": ranks * 2 * layer},
            "learn": {
                "optimizer and gradients": ranks * offloaded,
                "snapshot": ranks * snapshot,
                "past weights": ranks * past,
                "states that wait": ranks * moved,
            },
        },
    )
