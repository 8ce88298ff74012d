"""A model's config.json made small: the same family, head size, router and experts per token; few layers, few experts, narrow ones."""

from dataclasses import dataclass
from math import ceil, lcm
from typing import Any

from configs.families import EXPERT_COUNTS, number_of_experts
from configs.parameters import is_sparse

Model = dict[str, Any]
MOST_TIED = 2  # times the room's hidden size, where that follows from the heads
TILE = 32  # vLLM's kernels for CPUs want hidden and expert sizes that are multiples of it
PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")  # lists with an entry for each layer
ELSEWHERE = ("quantization_config", "auto_map")  # they describe the weights on disk, or code beside them


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How large the small model may be, and by which numbers of processes it is divided."""

    layers: int
    hidden: int
    intermediate: int  # of a dense layer
    expert: int  # width of an expert
    key_heads: int
    tensor_parallel: int = 1
    spread: int = 1  # processes over which the experts of a layer are spread, in an engine or in the learner


ON_CPU = Room(layers=2, hidden=128, intermediate=128, expert=64, key_heads=2)
ON_GPU = Room(layers=4, hidden=1024, intermediate=2048, expert=512, key_heads=4)


def shrunk(model: Model, room: Room) -> Model:
    """The config.json `model` with its sizes cut to `room`. Whatever is not a size stays: router, biases, norms, positions, activation."""
    small = {key: value for key, value in model.items() if key not in ELSEWHERE}
    small |= layers_of(model, room)
    small |= heads_of(model, room)
    wide = number_of_experts(model) and not model.get("moe_intermediate_size")  # Mixtral and OLMoE have no dense layer
    small["intermediate_size"] = cut(int(model["intermediate_size"]), room.expert if wide else room.intermediate, room)
    for key in ("moe_intermediate_size", "shared_expert_intermediate_size"):
        if model.get(key):
            small[key] = cut(int(model[key]), room.expert, room)
    if count := number_of_experts(model):
        key = next(name for name in EXPERT_COUNTS if model.get(name))
        small[key] = experts_of(model, count, room)
    small["initializer_range"] = min(0.2, 1.6 / small["hidden_size"] ** 0.5)  # random logits that differ by more than rounding
    return small


def layers_of(model: Model, room: Room) -> Model:
    """The first layers: where the model has dense and sparse ones, at least one of each."""
    every = int(model.get("decoder_sparse_step") or 1)
    count = min(int(model["num_hidden_layers"]), max(room.layers, every))
    small: Model = {"num_hidden_layers": count}
    if model.get("first_k_dense_replace"):
        small["first_k_dense_replace"] = min(int(model["first_k_dense_replace"]), count - 1)
    if model.get("num_nextn_predict_layers"):
        small["num_nextn_predict_layers"] = 0  # transformers does not build layers that guess further tokens
    if "max_window_layers" in model:
        small["max_window_layers"] = min(int(model["max_window_layers"] or 0), count)
    for key in PER_LAYER:
        if isinstance(model.get(key), list):
            small[key] = model[key][:count]
    if model.get("mlp_only_layers"):
        small["mlp_only_layers"] = [layer for layer in model["mlp_only_layers"] if layer < count]
        if number_of_experts(model) and not any(is_sparse(model | small, layer) for layer in range(count)):
            small["mlp_only_layers"] = [layer for layer in small["mlp_only_layers"] if layer < count - every]
    return small


def heads_of(model: Model, room: Room) -> Model:
    """Fewer heads of the same size, as many queries for each key as before; the hidden size follows where the model ties the two."""
    heads = int(model["num_attention_heads"])
    keys = int(model.get("num_key_value_heads") or heads)
    size = int(model.get("head_dim") or int(model["hidden_size"]) // heads)
    tied = not model.get("head_dim")
    each, workers = heads // keys, room.tensor_parallel
    possible = [n for n in range(1, keys + 1) if keys % n == 0 and (n * each) % workers == 0 and (n % workers == 0 or workers % n == 0)]
    narrow = [n for n in possible if n <= room.key_heads and (not tied or n * each * size <= MOST_TIED * room.hidden)]
    fewer = max(narrow, default=min(possible, default=keys))
    queries = fewer * each
    hidden = queries * size if tied else cut(int(model["hidden_size"]), room.hidden, room)
    return {"num_attention_heads": queries, "num_key_value_heads": fewer, "hidden_size": hidden}


def experts_of(model: Model, count: int, room: Room) -> int:
    """The least number of experts, at least twice those of a token, that the processes and the router's groups can divide."""
    chosen, groups = int(model.get("num_experts_per_tok") or 1), int(model.get("n_group") or 1)
    step = lcm(room.spread, groups)
    picked = int(model.get("topk_group") or groups)
    least = max(2 * chosen, 2 * groups, ceil(chosen * groups / picked))  # a router with groups scores each by its two best experts
    return min(count, step * ceil(least / step))


def cut(size: int, most: int, room: Room) -> int:
    """A width of at most `most` that tensor parallelism and the kernels can divide; a smaller one stays as it is."""
    unit = TILE * room.tensor_parallel
    return min(size, unit * max(1, most // unit))
