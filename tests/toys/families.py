"""A tiny random model of every family: two layers, hidden 64, four experts of which two see a token, the toy tokenizer's vocabulary."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.toys.model import toy_tokenizer

# vLLM's CPU kernels want hidden and expert sizes that are multiples of 32, and heads of at least 32.
SIZES: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 128, "tie_word_embeddings": False,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2,
}  # fmt: skip
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
OF_THE_FAMILY: dict[str, dict[str, Any]] = {
    "qwen3_moe": MIXTURE | {"norm_topk_prob": True, "mlp_only_layers": [0]},
    "qwen2_moe": MIXTURE | {"norm_topk_prob": False, "shared_expert_intermediate_size": 32},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 32},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 32, "sliding_window": None},
    "glm4_moe": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1, "n_group": 2, "topk_group": 1,
        "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "use_qk_norm": True, "num_nextn_predict_layers": 0,
    },
    "qwen3": {"tie_word_embeddings": True},
    "qwen2": {},
    "llama": {},
}  # fmt: skip


def write_family(family: str, folder: Path) -> None:
    """A random model of the family with its tokenizer, as a folder of transformers."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES | OF_THE_FAMILY[family], dtype=torch.float32)
    model = AutoModelForCausalLM.from_config(config)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.randn_like(buffer))
    model.save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
