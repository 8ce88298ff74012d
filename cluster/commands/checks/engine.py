"""What vLLM would refuse of this model, or on a machine without GPUs, when an engine starts."""

from collections.abc import Iterator
from typing import Any

from configs.families import number_of_experts
from configs.rules.engine import is_count, vllm_size
from configs.schema import Config
from configs.toml_writer import quoted, write_value

# vLLM's attention and expert kernels for CPUs have no others (v1/attention/backends/cpu_attn.py, and measured with vLLM 0.30).
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
CPU_MULTIPLE = 32
CPU_CACHE_DTYPES = ("auto", "fp8", "fp8_e4m3", "fp8_e5m2")
Model = dict[str, Any]  # a Hugging Face config


def engine_problems(config: Config, model: Model) -> Iterator[str]:
    """A line for each setting of `[rollout.vllm]` that this model cannot have, on any machine."""
    named = f"model.path {config.model.path}"
    tensor, pipeline = vllm_size(config, "tensor_parallel_size"), vllm_size(config, "pipeline_parallel_size")
    heads, layers = model["num_attention_heads"], model["num_hidden_layers"]
    keys = model.get("num_key_value_heads") or heads
    if heads % tensor:
        yield (
            f"rollout.vllm.tensor_parallel_size: got {tensor}, needed a divisor of the {heads} attention heads of {named}: "
            f"use {' or '.join(map(str, divisors_near(heads, tensor)))}"
        )
    elif keys % tensor and tensor % keys:
        yield (
            f"rollout.vllm.tensor_parallel_size: got {tensor}, needed a divisor or a multiple of the {keys} key-value heads of {named}: "
            f"use {' or '.join(map(str, divisors_near(keys, tensor)))}"
        )
    if pipeline > layers:
        yield f"rollout.vllm.pipeline_parallel_size: got {pipeline}, needed at most {layers}, the layers of {named}: use {layers} or less"
    longest: Any = model.get("max_position_embeddings")
    asked: Any = config.rollout.vllm.get("max_model_len")
    if is_count(longest) and is_count(asked) and asked > longest:
        yield f"rollout.vllm.max_model_len: got {asked}, needed at most {longest}, the context of {named}: use {config.context_tokens}"
    if (method := config.rollout.vllm.get("quantization")) and config.engine_dtype == "float32":
        yield (
            f"rollout.vllm.quantization: got {write_value(method)} with engines in float32, which vLLM quantizes to nothing: "
            'remove it, or set rollout.dtype = "bfloat16"'
        )


def cpu_problems(config: Config, model: Model) -> Iterator[str]:
    """A line for each size of the model, and each type of its cache, that vLLM's kernels for CPUs do not have."""
    named = f"model.path {config.model.path}"
    if (cache := config.rollout.vllm.get("kv_cache_dtype", "auto")) not in CPU_CACHE_DTYPES:
        yield f"rollout.vllm.kv_cache_dtype: got {write_value(cache)}, needed one of {quoted(CPU_CACHE_DTYPES)} without a GPU: remove it"
    head = model.get("head_dim") or model["hidden_size"] // model["num_attention_heads"]
    if head not in CPU_HEAD_SIZES:
        yield f"{named} has heads of {head}, and vLLM on CPU has kernels for {', '.join(map(str, CPU_HEAD_SIZES))} alone: use a GPU"
    inner = model.get("moe_intermediate_size") or model["intermediate_size"]
    sizes = {"hidden_size": model["hidden_size"], "size of an expert": inner}
    for name, size in sizes.items():
        if number_of_experts(model) and size % CPU_MULTIPLE:
            yield f"{named} has a {name} of {size}, and vLLM's experts on CPU need a multiple of {CPU_MULTIPLE}: use a GPU"


def divisors_near(number: int, size: int) -> list[int]:
    """The divisors of `number` nearest below and above `size`."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    below, above = [n for n in divisors if n <= size], [n for n in divisors if n > size]
    return [*below[-1:], *above[:1]]
