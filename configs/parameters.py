"""The number of parameters of a model, from its config.json alone: exact for every family in `configs.families`."""

from dataclasses import dataclass
from typing import Any

from configs.families import FAMILIES, number_of_experts

Model = dict[str, Any]  # a Hugging Face config
MOST_LAYERS = 10_000  # more is a mistake, and counting them takes long
BIASED = {"qwen3": "qkvo", "qwen3_moe": "qkvo", "olmoe": "qkvo", "llama": "qkvo", "glm4_moe": "qkv"}  # with attention_bias = true


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters a model has, and how many of them one token uses."""

    total: int
    active: int


def count_parameters(model: Model) -> Parameters | None:
    """The parameters of a model; None for another family, and where its config lacks a number or holds something else."""
    if str(model.get("model_type")) not in FAMILIES:
        return None
    try:
        return _count(model)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _count(model: Model) -> Parameters:
    hidden, layers = model["hidden_size"], model["num_hidden_layers"]
    if not 1 <= layers <= MOST_LAYERS:
        raise ValueError(f"{layers} layers")
    sparse = sum(is_sparse(model, layer) for layer in range(layers))
    experts, chosen = number_of_experts(model), model.get("num_experts_per_tok") or 0
    expert = 3 * hidden * (model.get("moe_intermediate_size") or model["intermediate_size"])
    dense = 3 * hidden * model["intermediate_size"]
    if model["model_type"] == "llama" and model.get("mlp_bias"):
        dense += 2 * model["intermediate_size"] + hidden
    embeddings = model["vocab_size"] * hidden * (1 if model.get("tie_word_embeddings") else 2)
    shared = embeddings + hidden + layers * (attention(model) + 2 * hidden) + (layers - sparse) * dense
    routed = hidden * experts + shared_expert(model)
    return Parameters(
        total=int(shared + sparse * (routed + experts * expert)), active=int(shared + sparse * (routed + min(chosen, experts) * expert))
    )


def is_sparse(model: Model, layer: int) -> bool:
    """Whether a layer of the model has experts."""
    if not number_of_experts(model):
        return False
    if model["model_type"] == "glm4_moe":
        return layer >= int(model.get("first_k_dense_replace", 1))
    if model["model_type"] not in ("qwen3_moe", "qwen2_moe"):
        return True
    step = model.get("decoder_sparse_step") or 1
    return layer not in (model.get("mlp_only_layers") or []) and (layer + 1) % step == 0


def attention(model: Model) -> int:
    """Parameters of one layer's attention: its four projections, their biases, the norms of queries and keys."""
    family, hidden, heads = model["model_type"], model["hidden_size"], model["num_attention_heads"]
    keys = model.get("num_key_value_heads") or heads
    size = model.get("head_dim") or hidden // heads
    widths = {"q": heads * size, "k": keys * size, "v": keys * size, "o": hidden}
    if family == "qwen2" or (family == "qwen2_moe" and model.get("qkv_bias", True)):
        biased = "qkv"
    else:
        biased = BIASED.get(family, "") if model.get("attention_bias") else ""
    norms = 0
    if family in ("qwen3", "qwen3_moe") or (family == "glm4_moe" and model.get("use_qk_norm")):
        norms = 2 * size
    elif family == "olmoe":
        norms = hidden + (hidden // heads) * keys
    return int(hidden * (widths["q"] + widths["k"] + widths["v"]) + heads * size * hidden + sum(widths[name] for name in biased) + norms)


def shared_expert(model: Model) -> int:
    """Parameters of the expert that every token of a layer uses, with its gate; 0 in families without one."""
    hidden = model["hidden_size"]
    if model["model_type"] == "qwen2_moe":
        return int(3 * hidden * model["shared_expert_intermediate_size"] + hidden)
    if model["model_type"] == "glm4_moe":
        return int(3 * hidden * model["moe_intermediate_size"] * model["n_shared_experts"])
    return 0
