"""The smallest real model and tokenizer that unit tests build in milliseconds."""

import torch
from transformers import PreTrainedTokenizerFast, Qwen2MoeConfig, Qwen3MoeConfig

from learner.tiny.tokenizer import make_tokenizer

CHARACTERS = "0123456789+-*=? abcdefghijkl"


def toy_tokenizer() -> PreTrainedTokenizerFast:
    """32 ids: pad 0, bos 1, eos 2, unknown 3, then one for each of CHARACTERS."""
    return make_tokenizer(CHARACTERS)


def tiny_config(layers: int = 2) -> Qwen3MoeConfig:
    """2 layers or more, hidden 64, 4 experts, 2 per token, and the vocabulary of `toy_tokenizer`."""
    return Qwen3MoeConfig(
        vocab_size=32,
        hidden_size=64,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        dtype=torch.float32,
    )


def shared_expert_config() -> Qwen2MoeConfig:
    """A model whose layers have a shared expert beside the four, and whose router weights are not normalised."""
    return Qwen2MoeConfig(
        vocab_size=32,
        hidden_size=64,
        intermediate_size=64,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=False,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        dtype=torch.float32,
    )
