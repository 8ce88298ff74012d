"""The rules for `[rollout.vllm]` and `[learner.deepspeed]`: keys that this project sets itself, and keys that cannot be combined."""

from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule, sum_of_tokens
from configs.tables import inner_table
from configs.toml_writer import write_value

VLLM_OWNED = {
    "model": "set model.path",
    "tokenizer": "set model.path: learner and engine need the same tokenizer",
    "dtype": "set rollout.dtype, or model.dtype for both learner and engines",
    "trust_remote_code": "set model.trust_remote_code",
    "seed": "set run.seed, from which every request's seed is derived",
    "logprobs_mode": "the learner needs log-probs at the sampling temperature",
    "max_logprobs": "the learner reads one log-prob for each sampled token",
    "weight_transfer_config": "set rollout.transfer",
    "worker_extension_cls": "the engine receives weights through it",
    "enable_return_routed_experts": "set rollout.capture_routing",
}
DEEPSPEED_OWNED = {
    "train_batch_size": "set rollout.groups_per_step and learner.updates_per_step",
    "train_micro_batch_size_per_gpu": "set learner.micro_batch_tokens",
    "gradient_accumulation_steps": "it follows from learner.micro_batch_tokens",
    "managed_gradient_accumulation": "an update has as many micro-batches as its tokens need",
    "gradient_clipping": "set learner.max_grad_norm",
    "optimizer": "set learner.lr, learner.betas and learner.weight_decay",
    "scheduler": "set learner.schedule, learner.min_lr and learner.warmup_updates",
    "bf16": "set model.dtype",
    "fp16": "set model.dtype",
    "torch_autocast": "set model.dtype",
    "gradient_allreduce_op": "the objective needs the mean over ranks",
    "gradient_predivide_factor": "the objective needs the mean over ranks",
    "prescale_gradients": "the objective needs the mean over ranks",
}
VLLM_SIZES = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "prefill_context_parallel_size",
    "decode_context_parallel_size",
    "data_parallel_size",
)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def vllm_size(config: Keys, name: str) -> int:
    """A parallel size of `[rollout.vllm]`, 1 if it is left out or not a count (`parallel_sizes_are_counts` reports that)."""
    value = config.rollout.vllm.get(name, 1)
    return value if is_count(value) else 1


def gpus_per_engine(config: Keys) -> int:
    """GPUs that one engine needs. Decode context parallelism shares those of tensor parallelism."""
    names = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
    tensor, pipeline, context = (vllm_size(config, name) for name in names)
    return tensor * pipeline * context


def owned_keys_are_set_elsewhere(config: Keys) -> Iterator[Problem]:
    """None of the keys in the two tables above is given."""
    tables = (("rollout.vllm", config.rollout.vllm, VLLM_OWNED), ("learner.deepspeed", config.learner.deepspeed, DEEPSPEED_OWNED))
    for section, table, owned in tables:
        for key in table:
            if key in owned:
                yield Problem((f"{section}.{key}",), f"got {table[key]!r}, but this key is set by the project: remove it ({owned[key]})")


def parallel_sizes_are_counts(config: Keys) -> Iterator[Problem]:
    """vLLM's parallel sizes are whole numbers ≥ 1."""
    for name in VLLM_SIZES:
        if not is_count(value := config.rollout.vllm.get(name, 1)):
            message = f"got {value!r}, needed a whole number of GPUs, at least 1: write for example {name} = 1"
            yield Problem((f"rollout.vllm.{name}",), message)


def engine_is_one_replica(config: Keys) -> Iterator[Problem]:
    """`rollout.vllm.data_parallel_size` is 1; `rollout.engines` sets the number of replicas."""
    if (size := vllm_size(config, "data_parallel_size")) > 1:
        message = (
            f"got {size}, needed 1, as an engine is one replica: remove it and set rollout.engines = {size * config.rollout.fewest_engines}"
        )
        yield Problem(("rollout.vllm.data_parallel_size", "rollout.engines"), message)


def experts_stay_where_a_publish_writes_them(config: Keys) -> Iterator[Problem]:
    """No `rollout.vllm.enable_eplb`, which moves experts between GPUs, and no `eplb_config`, which an engine refuses without it."""
    for name in ("enable_eplb", "eplb_config"):
        if value := config.rollout.vllm.get(name):
            message = (
                f"got {write_value(value)}; vLLM moves experts to balance their load, but loads published weights by the places of the "
                "start, so experts would get each other's weights: remove it; enable_expert_parallel alone works"
            )
            yield Problem((f"rollout.vllm.{name}",), message)


def captured_routing_excludes_pipelines(config: Keys) -> Iterator[Problem]:
    """`rollout.capture_routing` and `learner.routing = "replay_rollout"` exclude pipeline and context parallelism and `kv_transfer_config`
    in the engine."""
    replayed = config.learner.routing == "replay_rollout"
    if not (config.rollout.capture_routing or replayed):
        return
    why = 'learner.routing = "replay_rollout", which replays the experts that rollout.capture_routing records' if replayed else ""
    without = 'learner.routing = "replay_learner" and ' if replayed else ""
    for name in ("pipeline_parallel_size", "prefill_context_parallel_size", "decode_context_parallel_size"):
        if (size := vllm_size(config, name)) > 1:
            message = (
                f"got {size} with {why or 'rollout.capture_routing = true'}; vLLM returns routed experts only without pipeline and context "
                f"parallelism: use {name} = 1 and a larger tensor_parallel_size, or {without}rollout.capture_routing = false"
            )
            yield Problem((f"rollout.vllm.{name}", "rollout.capture_routing", "learner.routing"), message)
    if "kv_transfer_config" in config.rollout.vllm:
        message = (
            f"got a table with {why or 'rollout.capture_routing = true'}; vLLM returns routed experts only without a KV "
            f"connector: remove it, or use {without}rollout.capture_routing = false"
        )
        yield Problem(("rollout.vllm.kv_transfer_config", "rollout.capture_routing", "learner.routing"), message)


def engine_holds_the_whole_context(config: Keys) -> Iterator[Problem]:
    """`rollout.vllm.max_model_len` ≥ `data.max_prompt_tokens + rollout.max_response_tokens`."""
    length = config.rollout.vllm.get("max_model_len")
    if length is not None and not (is_count(length) and length >= config.context_tokens):
        message = f"got {length!r}, needed a whole number of at least {sum_of_tokens(config)}: raise it or lower those"
        yield Problem(("rollout.vllm.max_model_len", "data.max_prompt_tokens", "rollout.max_response_tokens"), message)


def secrets_stay_in_the_environment(config: Keys) -> Iterator[Problem]:
    """No `rollout.vllm.hf_token`, no `api_key` in DeepSpeed's `comet` and `wandb`: set `HF_TOKEN`, `COMET_API_KEY`, `WANDB_API_KEY` in the
    environment."""
    why = "a secret (not shown), which would be written to run.dir/config.toml and the logs: remove it and set"
    if "hf_token" in config.rollout.vllm:
        yield Problem(("rollout.vllm.hf_token",), f"got {why} HF_TOKEN in the environment")
    for monitor in ("comet", "wandb"):
        table = config.learner.deepspeed.get(monitor)
        for key in table if isinstance(table, dict) else ():
            if "api_key" in key.lower():
                yield Problem((f"learner.deepspeed.{monitor}.{key}",), f"got {why} {monitor.upper()}_API_KEY in the environment")


def zero_stage_exists(config: Keys) -> Iterator[Problem]:
    """`zero_optimization.stage` is 0, 1, 2 or 3."""
    zero = config.learner.deepspeed.get("zero_optimization", {})
    if not isinstance(zero, dict):
        yield Problem(("learner.deepspeed.zero_optimization",), f"got {zero!r}, needed a table: write zero_optimization = {{ stage = 2 }}")
        return
    stage = zero.get("stage", 0)
    if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
        message = f"got {stage!r}, needed 0, 1, 2 or 3: 0 shards nothing, 1 optimizer states, 2 also gradients, 3 also the weights"
        yield Problem(("learner.deepspeed.zero_optimization.stage",), message)


def overlap_needs_sharded_gradients(config: Keys) -> Iterator[Problem]:
    """`zero_optimization.overlap_comm = true` needs stage 2 or 3."""
    zero = config.learner.zero
    if zero.get("overlap_comm") and (stage := zero.get("stage", 0)) in (0, 1):
        message = (
            f"got true with stage = {stage}; DeepSpeed can overlap communication only if gradients are sharded: "
            "use stage = 2 or 3, or overlap_comm = false"
        )
        yield Problem(("learner.deepspeed.zero_optimization.overlap_comm", "learner.deepspeed.zero_optimization.stage"), message)


def checkpoints_can_hold_the_state(config: Keys) -> Iterator[Problem]:
    """A checkpoint copies the learner's state from memory: `zero_optimization` excludes NVMe for optimizer and parameters, MiCS, ZenFlow
    and SuperOffload."""
    zero = config.learner.zero
    optimizer, parameters = (inner_table(zero, (name,)) for name in ("offload_optimizer", "offload_param"))
    on_cpu = 'use device = "cpu"'
    elsewhere = {
        "offload_optimizer.device": (optimizer.get("device") == "nvme", on_cpu),
        "offload_param.device": (parameters.get("device") == "nvme", on_cpu),
        "offload_optimizer.super_offload": (optimizer.get("super_offload", False) is True, "remove it"),
        "mics_shard_size": (zero.get("mics_shard_size", -1) != -1, "remove it"),
        "zenflow": (zero.get("zenflow") is not None, "remove it"),
    }
    for key, (is_set, instead) in elsewhere.items():
        if is_set:
            message = f"a checkpoint copies the learner's state from memory, and cannot find it where this setting puts it: {instead}"
            yield Problem((f"learner.deepspeed.zero_optimization.{key}",), message)


def learner_shards_only_by_zero(config: Keys) -> Iterator[Problem]:
    """The learner has no tensor or sequence parallelism; its expert parallelism is `learner.expert_parallel`."""
    table = config.learner.deepspeed
    expert = table.get("expert_parallel", {})
    if not isinstance(expert, dict) or expert.get("enabled", False):
        size = expert.get("autoep_size", 2) if isinstance(expert, dict) else 2
        message = (
            f"got {expert!r}, but this key is set by the project: remove it and set learner.expert_parallel = {size}; "
            "expert parallelism in the engine is rollout.vllm.enable_expert_parallel"
        )
        yield Problem(("learner.deepspeed.expert_parallel", "learner.expert_parallel"), message)
    for key in ("tensor_parallel", "sequence_parallel_size"):
        if table.get(key, 1) not in (1, {}):
            message = f"got {table[key]!r}; only ZeRO shards the learner: remove it and raise learner.ranks or zero_optimization.stage"
            yield Problem((f"learner.deepspeed.{key}",), message)


ENGINE_RULES: tuple[Rule, ...] = (
    owned_keys_are_set_elsewhere,
    parallel_sizes_are_counts,
    engine_is_one_replica,
    experts_stay_where_a_publish_writes_them,
    captured_routing_excludes_pipelines,
    engine_holds_the_whole_context,
    secrets_stay_in_the_environment,
    zero_stage_exists,
    overlap_needs_sharded_gradients,
    checkpoints_can_hold_the_state,
    learner_shards_only_by_zero,
)
