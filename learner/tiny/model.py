"""A Qwen3 mixture of experts of one million parameters, random until it is warmed up."""

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3MoeConfig:
    """4 layers, hidden 128, 8 experts of which 2 see a token.

    vLLM's CPU kernels need hidden and expert sizes that are multiples of 32, and heads of at least 32.
    """
    return Qwen3MoeConfig(  # type: ignore[call-arg] # head_dim is read, though not declared
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=128,
        moe_intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        max_position_embeddings=256,
        initializer_range=0.05,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype=torch.float32,
    )


def build_model(config: Qwen3MoeConfig) -> Qwen3MoeForCausalLM:
    """The model with random fp32 weights from torch's current seed."""
    model = Qwen3MoeForCausalLM(config)
    model.generation_config = GenerationConfig(
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
    )
    return model
