"""Parameters counted from a config.json alone, against the models that transformers builds from it."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from configs.families import FAMILIES
from configs.parameters import count_parameters
from tests.toys.families import OF_THE_FAMILY, SIZES

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"attention_bias": True, "mlp_bias": True, "qkv_bias": False},
    {"tie_word_embeddings": True, "num_key_value_heads": 2, "mlp_only_layers": [1]},
    {"use_qk_norm": False, "decoder_sparse_step": 2, "mlp_only_layers": [], "first_k_dense_replace": 0},
)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_parameters_are_counted_exactly(family: str) -> None:
    for variant in VARIANTS:
        config = AutoConfig.for_model(family, **SIZES | OF_THE_FAMILY[family] | variant)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        found = count_parameters(config.to_dict())
        assert found is not None
        assert found.total == sum(parameter.numel() for parameter in model.parameters())
        unused = sum(p.numel() // 2 for name, p in model.named_parameters() if ".experts." in name)  # two of four experts see a token
        assert found.active == found.total - unused


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": []},
        {"hidden_size": None},
        {"hidden_size": float("inf")},
        {"num_hidden_layers": "x"},
        {"num_hidden_layers": 0},
        {"num_attention_heads": 0},
        {"num_experts": "x"},
        {"num_experts": None, "num_local_experts": float("inf"), "text_config": 3},
    ],
)
def test_a_config_that_no_model_can_have_is_not_counted(change: dict[str, Any]) -> None:
    config = {"model_type": "qwen3_moe", **SIZES, **OF_THE_FAMILY["qwen3_moe"], "head_dim": None}
    assert count_parameters(config) is not None
    assert count_parameters(config | change) is None
