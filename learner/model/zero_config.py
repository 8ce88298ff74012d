"""What DeepSpeed is told: what Gatewise decides, what a config says in DeepSpeed's own names, and which experts are spread."""

from typing import Any

import torch

from configs.families import families_that, family_of
from configs.schema import Config

CPU_BUCKETS = {1: 20_000_000, 2: 4_000_000}  # numbers in a bucket by ZeRO stage: few collectives, in memory that is used again


def zero_config(config: Config, world: int, *, on_cpu: bool = False) -> dict[str, Any]:
    """DeepSpeed's config: what Gatewise decides, and [learner.deepspeed] in DeepSpeed's own names."""
    learner = config.learner
    offload = "offload_optimizer" in learner.deepspeed.get("zero_optimization", {})
    adam = {"lr": learner.lr, "betas": list(learner.betas), "weight_decay": learner.weight_decay, "torch_adam": not offload}
    if on_cpu and not offload:
        adam["fused"] = True  # one pass over the memory of weights, gradient and moments in place of ten
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": world,
        # A step holds as many micro-batches as its tokens need; the caller says when it ends.
        "managed_gradient_accumulation": False,
        "gradient_clipping": 0.0 if is_plain(config) else float(learner.max_grad_norm),
        "optimizer": {"type": "AdamW", "params": adam},
        "bf16": {"enabled": config.model.dtype == "bfloat16"},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    if not on_cpu or learner.zero_stage not in CPU_BUCKETS:
        return {**ours, **learner.deepspeed}
    return {**ours, **learner.deepspeed, "zero_optimization": {**on_gloo(config), **learner.zero}}


def on_gloo(config: Config) -> dict[str, Any]:
    """How gradients of ZeRO-1 and 2 are reduced on CPUs, where a copy of them costs as much as the reduction itself."""
    bucket: dict[str, Any] = {"reduce_bucket_size": CPU_BUCKETS[config.learner.zero_stage]}
    # DeepSpeed reduces to all ranks either way; for what it calls a scatter it copies every bucket once more before, and back after.
    # Experts that are spread over ranks need it.
    return bucket if config.learner.expert_parallel > 1 else {**bucket, "reduce_scatter": False}


def is_plain(config: Config) -> bool:
    """Whether AdamW works on the model's own parameters and gradients: without ZeRO, in float32."""
    return config.learner.zero_stage == 0 and config.model.dtype == "float32"


def expert_settings(config: Config, model_type: str, device: torch.device) -> dict[str, Any]:
    """What DeepSpeed is told of AutoEP, which spreads the experts of a layer over ranks; nothing with `learner.expert_parallel` = 1.

    ValueError for a model that AutoEP cannot spread.
    """
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
