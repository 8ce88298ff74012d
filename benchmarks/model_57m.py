"""A random Qwen3 mixture of experts of 57 million parameters, with the tokens of the tiny model: large enough that computing counts."""

import shutil
from pathlib import Path

from benchmarks.rounds import ROOT

TINY = ROOT / ".cache" / "tiny" / "model"
NEVER = "<never>"  # a token that the model has no row for


def write_model(folder: Path, *, ends: bool = True) -> Path:
    """Write it, unless it is there. Without `ends` its responses go on to their limit: their end is a token that it cannot make."""
    import torch
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    if (folder / "config.json").exists():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    vocabulary = len(tokenizer)
    if not ends:
        tokenizer.add_special_tokens({"eos_token": NEVER})
    torch.manual_seed(0)
    config = Qwen3MoeConfig(  # type: ignore[call-arg] # head_dim is read, though not declared
        vocab_size=vocabulary,
        hidden_size=512,
        intermediate_size=512,
        moe_intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        num_experts=16,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype=torch.float32,
    )
    made = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    Qwen3MoeForCausalLM(config).save_pretrained(made)
    tokenizer.save_pretrained(made)
    made.rename(folder)
    return folder
