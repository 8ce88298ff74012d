"""The memory of one of an engine's GPUs: weights, work space, keys and values, and what a publish adds."""

from dataclasses import dataclass

from configs.memory.parts import Place
from configs.memory.sizes import Sizes
from configs.rules.engine import vllm_size
from configs.rules.placement import SHARED_UTILIZATION
from configs.schema import Config
from configs.tables import number_in

CHUNK = float(1 << 30)  # vLLM's size of a packed buffer; a chunk ends with the tensor that passes it
FULL = 0.95  # of a GPU: above it the allocator's fragments decide
GRAPHS = 1e9  # of captured CUDA graphs
ENGINE_RUNTIME = 1.5e9  # CUDA's context, NCCL, custom all-reduce
ASLEEP = 2.5e9  # of an engine that sleeps: CUDA's context, NCCL, graphs
DEFAULT_UTILIZATION, DEFAULT_BATCHED, DEFAULT_SEQUENCES = 0.92, 16384, 1024  # vLLM's own, the last two as offline on a GPU of 80 GB
LOGIT = 12  # bytes: float32 logits, their log-probs, and a copy for sampling
FP8, HALF, SINGLE = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Keys and values of one engine."""

    tokens: float
    contexts: float  # whole contexts: the longest prompt with the longest response


def utilization(config: Config) -> float:
    """The share of a GPU's memory that an awake engine takes."""
    default = SHARED_UTILIZATION if config.placement.share else DEFAULT_UTILIZATION
    return number_in(config.rollout.vllm, "gpu_memory_utilization", default)


def engine_weight(config: Config) -> int:
    """Bytes of one of the engine's weights."""
    if config.rollout.vllm.get("quantization") == "fp8":
        return FP8
    return engine_number(config)


def shards(config: Config) -> int:
    """GPUs that divide the weights of an engine."""
    return vllm_size(config, "tensor_parallel_size") * vllm_size(config, "pipeline_parallel_size")


def token_bytes(config: Config, sizes: Sizes) -> float:
    """Bytes of one token's keys and values on one GPU. With more GPUs than key heads, each head is on several of them."""
    heads = max(1.0, sizes.key_heads / vllm_size(config, "tensor_parallel_size"))
    size = FP8 if str(config.rollout.vllm.get("kv_cache_dtype", "auto")).startswith("fp8") else engine_number(config)
    return sizes.layers / vllm_size(config, "pipeline_parallel_size") * heads * sizes.head_size * 2 * size


def engine_number(config: Config) -> int:
    """Bytes of a number that an engine computes with, caches or receives."""
    return SINGLE if config.engine_dtype == "float32" else HALF


def work_space(config: Config, sizes: Sizes) -> float:
    """What a batch of `max_num_batched_tokens` needs, and the logits of `max_num_seqs` tokens."""
    batched = number_in(config.rollout.vllm, "max_num_batched_tokens", DEFAULT_BATCHED)
    sequences = number_in(config.rollout.vllm, "max_num_seqs", DEFAULT_SEQUENCES)
    tensor = vllm_size(config, "tensor_parallel_size")
    feed_forward = 2 * sizes.per_token * sizes.hidden + 3 * sizes.width / tensor
    a_token = 6 * sizes.hidden + 3 * (sizes.queries + 2 * sizes.keys) / tensor + feed_forward
    return batched * a_token * engine_number(config) + sequences * sizes.vocabulary * LOGIT


def chunk_bytes(config: Config, sizes: Sizes) -> float:
    """The largest packed chunk: it grows to 1 GiB and ends with the tensor that passes it, in the worst case the largest of the model."""
    sent = engine_number(config)
    shared, down = sent * (sizes.layer - sizes.layer_experts), sent * sizes.layer_experts / 3
    before = shared + (down if down < CHUNK else 0) if sizes.layer_experts else CHUNK
    return min(min(CHUNK, before) + sent * sizes.largest_tensor, sent * sizes.total)


def live_chunks(config: Config, sizes: Sizes, gpu: float) -> int:
    """Chunks alive at once: vLLM's two buffers and the one being filled, or one buffer and the next where three do not fit."""
    room = (FULL - utilization(config)) * gpu
    return 3 if 3 * chunk_bytes(config, sizes) + reloaded(config, sizes) <= room else 2


def reloaded(config: Config, sizes: Sizes) -> float:
    """A layer while vLLM loads it: as it arrives, and as its kernels want it."""
    return 2 * engine_number(config) * sizes.layer / vllm_size(config, "tensor_parallel_size")


def engine_weights(config: Config, sizes: Sizes) -> float:
    return engine_weight(config) * sizes.total / shards(config)


def cache_bytes(config: Config, sizes: Sizes, gpu: float) -> float:
    """What `gpu_memory_utilization` leaves for keys and values; not above 0 where the engine does not fit."""
    taken = engine_weights(config, sizes) + work_space(config, sizes) + graph_bytes(config) + ENGINE_RUNTIME
    return utilization(config) * gpu - taken


def cache(config: Config, sizes: Sizes, gpu: float) -> Cache:
    """How many tokens an engine holds at once."""
    tokens = max(0.0, cache_bytes(config, sizes, gpu)) / token_bytes(config, sizes)
    return Cache(tokens=tokens, contexts=tokens / config.context_tokens)


def graph_bytes(config: Config) -> float:
    """Bytes of captured CUDA graphs."""
    return 0 if config.rollout.vllm.get("enforce_eager") else GRAPHS


def engine_place(config: Config, sizes: Sizes, gpu: float) -> Place:
    """One GPU of an engine that has `gpu` bytes."""
    return Place(
        name="engine GPU",
        stays={
            "weights": engine_weights(config, sizes),
            "keys and values": max(0.0, cache_bytes(config, sizes, gpu)),
            "work space": work_space(config, sizes),
            "CUDA graphs": graph_bytes(config),
            "CUDA, NCCL": ENGINE_RUNTIME,
        },
        phases={
            "generate": {},
            "publish": {
                "packed chunks": live_chunks(config, sizes, gpu) * chunk_bytes(config, sizes),
                "a layer loaded": reloaded(config, sizes),
            },
        },
    )
