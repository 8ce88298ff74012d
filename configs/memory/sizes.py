"""The numbers of a model that memory depends on, from its Hugging Face config alone."""

from dataclasses import dataclass
from typing import Any

from configs.families import number_of_experts
from configs.parameters import attention, count_parameters, is_sparse, shared_expert

Model = dict[str, Any]  # a Hugging Face config


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Parameters by where they lie, and the widths that activations have."""

    total: int  # parameters
    experts: int  # parameters of all routed experts of all layers
    layer: int  # parameters of the largest decoder layer
    layer_experts: int  # of these the routed experts'
    largest_tensor: int  # elements of the largest tensor that a publish sends: a layer's fused gate and up projections, or the embeddings
    embedding: int  # parameters of the embedding, which is as large as the head
    layers: int
    sparse_layers: int
    hidden: int
    queries: int  # heads × head size
    keys: int  # key heads × head size, the same for values
    key_heads: int
    head_size: int
    width: int  # of what a token passes through in a feed-forward layer: expert width × experts a token, or the dense width
    per_token: int  # experts that a token takes; 0 in a dense model
    vocabulary: int

    @property
    def shared(self) -> int:
        """Parameters that are no routed experts."""
        return self.total - self.experts


def sizes_of(model: Model) -> Sizes | None:
    """The sizes of a model; None for one that `count_parameters` cannot count."""
    counted = count_parameters(model)
    if counted is None:
        return None
    hidden, layers, heads = model["hidden_size"], model["num_hidden_layers"], model["num_attention_heads"]
    key_heads = model.get("num_key_value_heads") or heads
    head_size = model.get("head_dim") or hidden // heads
    sparse = sum(is_sparse(model, layer) for layer in range(layers))
    count, chosen = number_of_experts(model), model.get("num_experts_per_tok") or 0
    expert_width, dense_width = model.get("moe_intermediate_size") or model["intermediate_size"], model["intermediate_size"]
    layer_experts = 3 * hidden * expert_width * count if sparse else 0
    feed_forward = layer_experts + hidden * count + shared_expert(model) if sparse else 3 * hidden * dense_width
    fused = 2 * hidden * expert_width * count if sparse else hidden * dense_width
    embedding = model["vocab_size"] * hidden
    return Sizes(
        total=counted.total,
        experts=sparse * layer_experts,
        layer=int(attention(model) + 2 * hidden + max(feed_forward, 3 * hidden * dense_width if sparse < layers else 0)),
        layer_experts=layer_experts,
        largest_tensor=max(fused, embedding),
        embedding=embedding,
        layers=layers,
        sparse_layers=sparse,
        hidden=hidden,
        queries=heads * head_size,
        keys=key_heads * head_size,
        key_heads=key_heads,
        head_size=head_size,
        width=max(expert_width * chosen if sparse else 0, dense_width if sparse < layers else 0),
        per_token=chosen if sparse else 0,
        vocabulary=model["vocab_size"],
    )
