"""DeepSpeed's AutoEP, which spreads the experts of a layer over ranks: its part of DeepSpeed's config."""

from typing import Any

import torch

from configs.families import families_that, family_of
from configs.schema import Config


def expert_settings(config: Config, model_type: str, device: torch.device) -> dict[str, Any]:
    """What goes into DeepSpeed's config; nothing with `learner.expert_parallel` = 1. ValueError for a model that AutoEP cannot spread."""
    size = config.learner.expert_parallel
    if size == 1:
        return {}
    preset = family_of(model_type).spread
    if preset is None:
        raise ValueError(
            f'learner.expert_parallel = {size}, but model.path is of type "{model_type}"; experts can be spread of '
            f"{', '.join(families_that(lambda row: row.spread))}: use such a model, or learner.expert_parallel = 1"
        )
    return {
        "expert_parallel": {
            "enabled": True,
            "autoep_size": size,
            "preset_model": preset,
            # The preset's own pattern, below the name by which a policy holds its model.
            "moe_layer_pattern": r"language_model\.model\.layers\.\d+\.mlp",
            # One kernel for all experts; torch has it for GPUs.
            "use_grouped_mm": device.type == "cuda",
        }
    }
