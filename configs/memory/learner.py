"""The memory of a learner rank's GPU, phase by phase: backward, update, publish."""

from dataclasses import dataclass
from math import ceil

from configs.arithmetic import MOMENT_BYTES, has_masters, offloads, optimizer_bytes, weight_bytes
from configs.memory.activations import HALF, layer_bytes, logit_bytes
from configs.memory.engine import engine_number
from configs.memory.parts import Bytes, Place
from configs.memory.sizes import Sizes
from configs.schema import Config
from configs.tables import inner_table, number_in

RUNTIME = 2e9  # CUDA's context, NCCL's buffers, and what the allocator cannot use again
REDUCE_BUCKET = 5e8  # DeepSpeed's default of reduce_bucket_size, in elements
SUB_GROUP = 1e9  # DeepSpeed's default of sub_group_size, in elements
LIVE = 1e9  # DeepSpeed's default of stage3_max_live_parameters, in elements
GRADIENTS, WEIGHTS = 2, 3  # the ZeRO stages from which these are divided
FLOAT32 = ("fp32", "float32", "torch.float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How many parameters lie on one rank: all that it keeps whole, and its part of what all ranks divide."""

    whole: float  # the shared weights and its experts
    part: float  # 1 / ranks of everything


def gradient_bytes(config: Config) -> int:
    """Bytes of the gradient that an update adds up, for one parameter."""
    types = inner_table(config.learner.deepspeed, ("data_types",))
    return 4 if types.get("grad_accum_dtype", "") in FLOAT32 else weight_bytes(config)


def divided(config: Config, sizes: Sizes) -> Division:
    """Experts are whole on `learner.expert_parallel` ranks together; ZeRO divides what it divides over all ranks."""
    return Division(whole=sizes.shared + sizes.experts / config.learner.expert_parallel, part=sizes.total / config.learner.ranks)


def rank_place(config: Config, sizes: Sizes, chunks: float) -> Place:
    """One rank's GPU. `chunks` are the bytes that a publish packs on it at once."""
    return Place(
        name="learner rank",
        stays={**states(config, sizes), **weights(config, sizes), "CUDA, NCCL": RUNTIME},
        phases={"backward": backward(config, sizes), "update": update(config, sizes), "publish": publish(config, sizes, chunks)},
    )


def states(config: Config, sizes: Sizes) -> dict[str, float]:
    """Optimizer and gradients, and the buckets in which gradients are reduced."""
    stage, learner, division = config.learner.zero_stage, config.learner, divided(config, sizes)
    if stage:
        buffers = 2 if learner.zero.get("overlap_comm") and stage < WEIGHTS else 1
        elements = min(number_in(learner.zero, "reduce_bucket_size", REDUCE_BUCKET), division.whole)
        buckets = buffers * elements * weight_bytes(config) * (learner.ranks > 1)
    else:
        buckets = 0
    if offloads(config):
        return {"reduce buckets": buckets}
    return {
        "masters and moments" if has_masters(config) else "moments": optimizer_bytes(config) * (division.part if stage else division.whole),
        "gradients": gradient_bytes(config) * (division.part if stage >= GRADIENTS else division.whole),
        "reduce buckets": buckets,
    }


def weights(config: Config, sizes: Sizes) -> dict[str, float]:
    """Weights of the policy and of the reference, which is divided in the same way, and a rank's share as it was last published."""
    division = divided(config, sizes)
    each = weight_bytes(config) * (division.part if config.learner.zero_stage == WEIGHTS else division.whole)
    found = {"weights": each, "reference": each if config.kl.reference else 0}
    return found if config.rollout.full_every == 1 else {**found, "last published": HALF * division.part}


def layer_weights(config: Config, sizes: Sizes) -> float:
    """Parameters of a layer on one rank while it is whole."""
    return sizes.layer - sizes.layer_experts + sizes.layer_experts / config.learner.expert_parallel


def gathered(config: Config, sizes: Sizes) -> float:
    """Bytes of the parameters that ZeRO-3 has gathered at once: two layers, or as many as DeepSpeed lets live."""
    if config.learner.zero_stage != WEIGHTS or config.learner.ranks == 1:
        return 0
    live = number_in(config.learner.zero, "stage3_max_live_parameters", LIVE)
    return weight_bytes(config) * min(divided(config, sizes).whole, max(2 * layer_weights(config, sizes), live))


def backward(config: Config, sizes: Sizes) -> Bytes:
    """A backward pass is at its peak in the logits, before any layer, or in a layer, when no logits are left."""
    learner, weight = config.learner, weight_bytes(config)
    tokens = learner.micro_batch_tokens
    layer = tokens * layer_bytes(sizes, weight, spread=learner.expert_parallel > 1)
    stored = sizes.layers * (tokens * sizes.hidden * weight if learner.gradient_checkpointing else layer)
    rows = ceil(tokens / ceil(tokens / learner.head_chunk_tokens))
    head = float(sizes.embedding * 4) if learner.head_dtype == "float32" and weight == HALF else 0.0
    logits = rows * sizes.vocabulary * logit_bytes(learner.head_dtype, weight) + head
    again = layer if learner.gradient_checkpointing else 0.0
    gradient = weight * layer_weights(config, sizes)
    common = {"stored activations": stored, "gathered layers": gathered(config, sizes)}
    if logits > again + gradient:
        return {**common, "logits": logits}
    return {**common, "a layer computed again": again, "its gradient": gradient}


def update(config: Config, sizes: Sizes) -> Bytes:
    """PyTorch's AdamW takes the root of the second moments of all parameters that it updates at once."""
    if offloads(config):
        return {"AdamW": 0.0}
    stage, division = config.learner.zero_stage, divided(config, sizes)
    mine = division.part if stage else division.whole
    at_once = number_in(config.learner.zero, "sub_group_size", SUB_GROUP) if stage == WEIGHTS else mine
    return {"AdamW": MOMENT_BYTES * min(at_once, mine)}


def publish(config: Config, sizes: Sizes, chunks: float) -> Bytes:
    """The first rank copies a whole layer, or the embeddings, while ZeRO-3 has it gathered, and packs the copies into chunks."""
    sent = engine_number(config)
    largest = max(sizes.layer, sizes.embedding)
    gather = weight_bytes(config) * max(layer_weights(config, sizes), sizes.embedding) if gathered(config, sizes) else 0
    mine = sent * sizes.layer_experts / config.learner.expert_parallel if config.learner.expert_parallel > 1 else 0
    return {"gathered layer": gather, "its copy": sent * largest, "its experts on their way": mine, "packed chunks": chunks}
