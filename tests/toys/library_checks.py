"""Asks vLLM and DeepSpeed for their own checks of every recipe for GPUs, on a machine without one. A process of its own runs it.

    python -m tests.toys.library_checks FOLDER     writes model folders to FOLDER and prints a line of JSON

vLLM believes that it runs on H100s of 80 GB: only what asks the driver is replaced, the checks are its own.
"""

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.modules["vllm._C_stable_libtorch"] = types.ModuleType("vllm._C_stable_libtorch")  # its CUDA kernels, which a CPU build lacks

import vllm.platforms  # noqa: E402
from vllm.platforms import cuda  # noqa: E402
from vllm.platforms.interface import DeviceCapability  # noqa: E402

from configs.memory.page import Recipe, recipes  # noqa: E402
from tests.toys.models import MODELS  # noqa: E402

HOPPER = DeviceCapability(9, 0)


class Hopper(cuda.CudaPlatformBase):
    """A node of H100s, as far as vLLM's checks of a config ask."""

    @classmethod
    def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
        return HOPPER

    @classmethod
    def has_device_capability(cls, capability: Any, device_id: int = 0) -> bool:
        return (capability if isinstance(capability, tuple) else divmod(capability, 10)) <= HOPPER

    @classmethod
    def get_device_name(cls, device_id: int = 0) -> str:
        return "NVIDIA H100 80GB HBM3"

    @classmethod
    def get_device_total_memory(cls, device_id: int = 0) -> int:
        return 80 << 30

    @classmethod
    def is_fully_connected(cls, device_ids: list[int]) -> bool:
        return True

    @classmethod
    def device_count(cls) -> int:
        return 8

    def is_cumem_allocator_available(self) -> bool:
        return True  # a library of vLLM's CUDA build


def with_model(recipe: Recipe, folder: Path) -> Any:
    """The recipe's config with its model in a local folder: a config.json and nothing else."""
    place = folder / recipe.path.stem
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(recipe.model), encoding="utf-8")
    return recipe.config.model_copy(update={"model": recipe.config.model.model_copy(update={"path": str(place)})})


def engine_config(config: Any) -> dict[str, Any]:
    """What vLLM makes of the arguments that an engine of a run gives it."""
    from rollout.engine.args import engine_args
    from rollout.transfer.transport import choose_transport

    made = engine_args(config, choose_transport(config, gpu=True)).create_engine_config()
    scheduler, parallel = made.scheduler_config, made.parallel_config
    return {
        "device": made.device_config.device_type,
        "graphs": made.compilation_config.cudagraph_mode.name,
        "batched": scheduler.max_num_batched_tokens,
        "sequences": scheduler.max_num_seqs,
        "context": made.model_config.max_model_len,
        "tensor": parallel.tensor_parallel_size,
        "spread": parallel.enable_expert_parallel,
        "architecture": made.model_config.architecture,
    }


def learner_config(config: Any) -> dict[str, Any]:
    """What DeepSpeed makes of the config that a rank gives it; its checks ask for the world's size only."""
    import torch
    from deepspeed.runtime import config as deepspeed_config

    from learner.model.zero_config import expert_settings, zero_config

    world = config.learner.ranks
    model_type = json.loads((Path(config.model.path) / "config.json").read_text(encoding="utf-8"))["model_type"]
    settings = zero_config(config, world) | expert_settings(config, model_type, torch.device("cuda"))
    deepspeed_config.dist = types.SimpleNamespace(get_rank=lambda: 0, get_world_size=lambda: world)
    made = deepspeed_config.DeepSpeedConfig(settings)
    offload = made.zero_config.offload_optimizer
    return {"stage": int(made.zero_optimization_stage), "bf16": made.bfloat16_config.enabled, "offload": offload is not None}


def main(folder: Path) -> None:
    """One line: recipe -> what both libraries made of it, or the error that one of them raised."""
    vllm.platforms._current_platform = Hopper()
    made = {}
    for recipe in recipes(MODELS):
        config = with_model(recipe, folder)
        made[recipe.path.stem] = {"engine": engine_config(config), "learner": learner_config(config)}
    broken = recipes(MODELS)[-1]
    config = with_model(broken, folder / "broken")
    config.rollout.vllm["tensor_parallel_size"] = 3  # does not divide 64 heads
    config.learner.deepspeed["zero_optimization"]["stage"] = 7
    made["broken"] = {"engine": refusal(engine_config, config), "learner": refusal(learner_config, config)}
    print(json.dumps(made))


def refusal(make: Callable[[Any], Any], config: Any) -> str:
    """What a library says of a config that it must refuse."""
    try:
        return f"accepted: {make(config)}"
    except ValueError as error:  # pydantic's errors are ValueErrors
        return str(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
