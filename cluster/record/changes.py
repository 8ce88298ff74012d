"""What may differ between the config of a run and that of its continuation.

A key may change unless the checkpoint's state, the order of the prompts or the engines' distribution belongs to its value. Every change
is recorded in the ledger.
"""

from pathlib import Path
from typing import NamedTuple

from cluster.models.recorded import recorded
from configs.loader import load
from configs.schema import Config

# Keys and tables that must stay: weights, optimizer, prompts and seeds of a checkpoint belong to them.
FIXED = ("model", "data", "run.seed", "learner.deepspeed", "learner.router", "rollout.vllm")
# Keys of these tables that may change all the same: held-out prompts, how prompts are weighed, where and how fast vLLM computes, and how
# DeepSpeed divides, moves and reports what it trains. A checkpoint does not depend on the division.
FREE_WITHIN = (
    "data.eval", "data.eval_split", "data.eval_limit", "data.evals", "data.template_file", "data.difficulty_floor",
    "data.difficulty_half_life",
    *(
        f"learner.deepspeed.{name}" for name in (
            "zero_optimization", "data_types", "communication_data_type", "activation_checkpointing", "aio", "comms_logger", "compile",
            "csv_monitor", "comet", "disable_allgather", "disable_python_gc", "dump_state", "flops_profiler", "log_level",
            "memory_breakdown", "steps_per_print", "tensorboard", "timers", "wall_clock_breakdown", "wandb",
            "use_data_before_expert_parallelism", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer",
        )
    ),
    *(
        f"rollout.vllm.{name}" for name in (
            "tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size", "decode_context_parallel_size",
            "enable_expert_parallel", "all2all_backend", "distributed_executor_backend", "disable_custom_all_reduce",
            "gpu_memory_utilization", "enable_sleep_mode", "kv_cache_memory_bytes", "num_gpu_blocks_override", "cpu_offload_gb",
            "max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "enable_prefix_caching", "enable_chunked_prefill",
            "scheduling_policy", "async_scheduling", "enforce_eager", "compilation_config", "load_format",
            "max_parallel_loading_workers", "disable_log_stats",
        )
    ),
)  # fmt: skip
UNRECORDED = ("run.resume", "run.dir", "run.from", "run.from_optimizer")  # where a run lies and began, which an attempt records itself
NEEDED_TO_LOAD = ("model",)  # to load a checkpoint for anything at all


class Change(NamedTuple):
    """A key with its values in the run so far and from now on."""

    key: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} in the run, {self.after!r} now"


WHOLE = ("rollout.engines",)  # a number or a table: one key in either form


def flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    """A nested table as dotted keys."""
    out: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict) and prefix + key not in WHOLE:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def is_within(key: str, tables: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of `tables` or lies below one."""
    return any(key == table or key.startswith(f"{table}.") for table in tables)


def changes(kept: Config, now: Config, within: tuple[str, ...] = ()) -> list[Change]:
    """Every difference between two configs, in the order of keys; only below `within` if that is given."""
    before, after = flat(recorded(kept).model_dump()), flat(recorded(now).model_dump())
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted(before | after)
        if before.get(key) != after.get(key) and key not in UNRECORDED and (not within or is_within(key, within))
    ]


def is_refused(change: Change) -> bool:
    """Whether a run that makes this change could not continue from its state."""
    if change.key == "kl.refresh_every":
        return not (change.before and change.after)  # a checkpoint has the reference only if it is renewed
    return is_within(change.key, FIXED) and not is_within(change.key, FREE_WITHIN)


def allowed_changes(kept: Config, now: Config, what: Path | None = None) -> list[Change]:
    """The differences that a continued run has; ValueError with every one that it may not have, and how to begin a new run instead."""
    found = changes(kept, now)
    refused = [change for change in found if is_refused(change)]
    if refused:
        listed = "\n".join(f"  {change}" for change in refused)
        source = what or now.run_dir
        fork = f'begin a new run from its weights with run.from="{source}" and another run.dir'
        if any(is_within(change.key, (*NEEDED_TO_LOAD, "learner.router")) for change in refused):
            fork = "export it (python -m cluster export) and begin a new run in another run.dir with model.path = the exported folder"
        raise ValueError(f"{source} cannot be resumed with another config:\n{listed}\nset these back, or {fork}")
    return found


def config_of(checkpoint: Path) -> Config | None:
    """The config of the run that wrote a checkpoint; None if the folder is in no run directory."""
    kept = checkpoint.parent.parent / "config.toml"
    return load(kept) if kept.exists() else None
