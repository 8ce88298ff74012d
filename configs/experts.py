"""The mixtures of experts whose routers the learner can follow, by the `model_type` of their config.json; nothing is imported to tell."""

from typing import Any

# Their routers take the largest of a softmax, each in one module of this class.
ROUTERS = {
    "qwen3_moe": "Qwen3MoeTopKRouter",
    "qwen2_moe": "Qwen2MoeTopKRouter",
    "qwen3_next": "Qwen3NextTopKRouter",
    "olmoe": "OlmoeTopKRouter",
}
# DeepSpeed AutoEP's preset for those of them whose layers it can take apart and this project can put together again.
SPREADABLE = {"qwen3_moe": "qwen3_moe", "qwen2_moe": "qwen3_moe"}
# What the families call their number of experts; transformers 5 writes the second name for models that were saved with the first.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def number_of_experts(model: dict[str, Any]) -> int:
    """Experts of a layer from a model's Hugging Face config, 0 for a dense model."""
    text = model.get("text_config") or {}
    return next((int(found) for name in EXPERTS if (found := model.get(name) or text.get(name))), 0)
