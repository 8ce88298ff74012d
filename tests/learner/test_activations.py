"""What `configs.memory` says of a layer, a logit and a family, against what PyTorch has alive and what transformers builds."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from configs.families import FAMILIES
from configs.memory.activations import layer_bytes, logit_bytes
from configs.memory.sizes import sizes_of
from learner.model.logprobs import chunked_logprobs
from tests.toys.families import OF_THE_FAMILY, SIZES
from tests.toys.live_bytes import LiveBytes

MOST_BELOW, MOST_ABOVE = 0.93, 1.35  # computed / measured
SHAPE = {"vocab_size": 64, "num_hidden_layers": 1, "head_dim": 32, "max_position_embeddings": 4096, "num_key_value_heads": 2}
MIXTURE = SHAPE | {"intermediate_size": 96, "num_experts": 8}


def settings(model_type: str, **sizes: int) -> Any:
    return AutoConfig.for_model(model_type, **((MIXTURE if model_type == "qwen3_moe" else SHAPE) | sizes))


def peak(model: Any, tokens: int) -> int:
    """Bytes at the peak of a forward and a backward pass of the model's only layer, whose weights are trained."""
    states = torch.randn(1, tokens, model.config.hidden_size, dtype=model.dtype, requires_grad=True)
    places = model.model.rotary_emb(states, torch.arange(tokens)[None])
    with LiveBytes() as live:
        out = model.model.layers[0](states, position_embeddings=places, attention_mask=None)
        torch.autograd.backward(out, torch.ones_like(out))
    return live.peak


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "config",
    [
        settings("qwen3_moe", hidden_size=64, num_attention_heads=4, moe_intermediate_size=48, num_experts_per_tok=4),
        settings("qwen3_moe", hidden_size=64, num_attention_heads=8, moe_intermediate_size=96, num_experts_per_tok=2),
        settings("qwen3", hidden_size=64, num_attention_heads=4, intermediate_size=192),
        settings("qwen3", hidden_size=128, num_attention_heads=4, intermediate_size=256),
    ],
    ids=["mixture", "few experts", "dense", "wide"],
)
def test_a_layer_takes_what_is_computed_for_each_token(config: Any, dtype: torch.dtype) -> None:
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model.set_experts_implementation("grouped_mm") if config.model_type == "qwen3_moe" else None
    measured = (peak(model, 768) - peak(model, 256)) / 512  # the gradients of weights do not grow with tokens
    sizes = sizes_of(config.to_dict())
    assert sizes is not None
    computed = layer_bytes(sizes, dtype.itemsize, spread=False)
    assert MOST_BELOW * measured <= computed <= MOST_ABOVE * measured, f"computed {computed:.0f}, measured {measured:.0f} bytes a token"


@pytest.mark.parametrize(("head_dtype", "dtype"), [("model", torch.bfloat16), ("float32", torch.float32)])
def test_a_logit_takes_what_is_computed(head_dtype: str, dtype: torch.dtype) -> None:
    rows, chunks, vocabulary = 128, 4, 8192
    head = torch.nn.Linear(16, vocabulary, bias=False, dtype=dtype).requires_grad_(False)
    states = torch.randn(rows, 16, dtype=dtype, requires_grad=True)
    with LiveBytes() as live:
        logprobs, _ = chunked_logprobs(states, head, torch.zeros(rows, dtype=torch.int64), 1.0, chunks)
        logprobs.sum().backward()
    assert live.peak / (rows // chunks * vocabulary) == pytest.approx(logit_bytes(head_dtype, 2), rel=0.03)


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_and_layers_of_every_family_are_those_of_its_model(family: str) -> None:
    config = AutoConfig.for_model(family, **SIZES | OF_THE_FAMILY[family])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    sizes = sizes_of(config.to_dict())
    assert sizes is not None
    parameters = {name: parameter.numel() for name, parameter in model.named_parameters()}
    layers = [sum(size for name, size in parameters.items() if f".layers.{n}." in name) for n in range(config.num_hidden_layers)]
    assert sizes.total == sum(parameters.values())
    assert sizes.experts == sum(size for name, size in parameters.items() if ".experts." in name)
    assert sizes.layer == max(layers)
    assert sizes.largest_tensor == max(parameters.values())
