"""Floating-point operations of training: 6 for each active parameter and token, and attention over the tokens before."""

from typing import Any

from configs.parameters import count_parameters


def training_flops(model: dict[str, Any], responses: int, length: float) -> float:
    """Operations of one forward and backward pass over `responses` sequences of `length` tokens, none of them computed twice.

    The input embedding is looked up and multiplies nothing. Causal attention sees half of a sequence on average.
    """
    found = count_parameters(model)
    if found is None:
        raise ValueError(f"the parameters of {model.get('model_type')} cannot be counted")
    hidden, heads = int(model["hidden_size"]), int(model["num_attention_heads"])
    embedding = 0 if model.get("tie_word_embeddings") else int(model["vocab_size"]) * hidden
    width = heads * int(model.get("head_dim") or hidden // heads)
    attention = 6 * int(model["num_hidden_layers"]) * width * length
    return responses * length * (6 * (found.active - embedding) + attention)
