"""What vLLM is started with, and what it says of the model then."""

from typing import Any

from vllm.config import ModelConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform

from configs.rules.engine import gpus_per_engine
from configs.rules.placement import SHARED_UTILIZATION
from configs.schema import Config
from rollout.transfer.transport import Transport
from rollout.worker.cpu_norms import PRIORITY

SCHEDULER = "rollout.engine.scheduler.scheduler"  # of the core, which separates the members of a message


def stop_ids(model: ModelConfig) -> list[int]:
    """The tokens that end a response by the model's generation_config.json."""
    found = model.try_get_generation_config().get("eos_token_id")
    return [] if found is None else list(found) if isinstance(found, list) else [found]


def engine_args(config: Config, transport: Transport) -> AsyncEngineArgs:
    """vLLM's arguments: the config's own choices, then everything in [rollout.vllm]."""
    ours: dict[str, Any] = {
        "model": config.model.path,
        "dtype": config.engine_dtype,
        "trust_remote_code": config.model.trust_remote_code,
        "seed": config.run.seed,
        "max_model_len": config.context_tokens,
        "logprobs_mode": "processed_logprobs",
        "enable_return_routed_experts": config.rollout.capture_routing,
        "weight_transfer_config": {"backend": transport.backend},
        "worker_extension_cls": "rollout.worker.weight_receiver.WeightReceiver",
        "scheduler_cls": SCHEDULER,
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    # A single worker runs in the engine core's own process, which saves a process. Several workers are child processes: by default vLLM
    # would ask Ray for them, but Ray has already given all GPUs of the bundle to this actor.
    ours["distributed_executor_backend"] = "uni" if gpus_per_engine(config) == 1 else "mp"
    if config.placement.share and not current_platform.is_cpu():
        ours |= {"enable_sleep_mode": True, "gpu_memory_utilization": SHARED_UTILIZATION}
    if current_platform.is_cpu():
        # vLLM's CPU runner cannot continue a seeded request whose prompt was split over two batches: the engine core dies of it.
        ours["enable_chunked_prefill"] = False
        kernels = config.rollout.vllm.get("kernel_config")
        chosen = isinstance(kernels, dict) and "ir_op_priority" in kernels  # vLLM refuses to be told twice
        if config.rollout.vllm.get("enforce_eager") and not chosen:
            ours["ir_op_priority"] = PRIORITY  # without "eager" a compiler fuses what vLLM writes out
    return AsyncEngineArgs(**{**ours, **config.rollout.vllm})
