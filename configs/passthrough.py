"""Checks the names in `[rollout.vllm]` and `[learner.deepspeed]` against the installed libraries.

The names are read from the libraries' source, because importing the libraries takes far longer than checking a config should.
"""

import ast
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from configs.schema import Config
from configs.tables import inner_table
from configs.translate import translate

# Read from deepspeed/runtime/config.py and the config modules it calls; DeepSpeed itself ignores unknown keys.
DEEPSPEED_KEYS = frozenset(
    [
        "activation_checkpointing",
        "aio",
        "autotuning",
        "bf16",
        "checkpoint",
        "comet",
        "comms_logger",
        "communication_data_type",
        "compile",
        "csv_monitor",
        "data_efficiency",
        "data_types",
        "dataloader_drop_last",
        "datastates_ckpt",
        "disable_allgather",
        "disable_python_gc",
        "dump_state",
        "expert_parallel",
        "flops_profiler",
        "fp16",
        "gradient_accumulation_steps",
        "gradient_allreduce_op",
        "gradient_clipping",
        "gradient_predivide_factor",
        "hybrid_engine",
        "log_level",
        "managed_gradient_accumulation",
        "memory_breakdown",
        "optimizer",
        "pipeline",
        "prescale_gradients",
        "scheduler",
        "seq_parallel_communication_data_type",
        "sequence_parallel_size",
        "steps_per_print",
        "tensor_parallel",
        "tensorboard",
        "timers",
        "torch_autocast",
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "use_data_before_expert_parallelism",
        "wall_clock_breakdown",
        "wandb",
        "weight_quantization",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
        "zero_optimization",
    ]
)
ZERO_CLASSES = {
    ("zero_optimization",): ("runtime/zero/config.py", "DeepSpeedZeroConfig"),
    ("zero_optimization", "offload_optimizer"): ("runtime/zero/offload_config.py", "DeepSpeedZeroOffloadOptimizerConfig"),
    ("zero_optimization", "offload_param"): ("runtime/zero/offload_config.py", "DeepSpeedZeroOffloadParamConfig"),
}


def check_passthrough(config: Config) -> list[str]:
    """A line for each name that vLLM or DeepSpeed does not have; the names of a library that is not installed are not checked."""
    problems: list[str] = []
    if vllm := library_folder("vllm"):
        source = vllm / "engine" / "arg_utils.py"
        known = class_fields(source, "EngineArgs") | class_fields(source, "AsyncEngineArgs")
        problems += unknown_names("rollout.vllm", config.rollout.vllm, known, "vLLM's AsyncEngineArgs")
    problems += unknown_names("learner.deepspeed", config.learner.deepspeed, DEEPSPEED_KEYS, "DeepSpeed")
    if deepspeed := library_folder("deepspeed"):
        for path, (source_name, class_name) in ZERO_CLASSES.items():
            table = inner_table(config.learner.deepspeed, path)
            section = ".".join(("learner.deepspeed", *path))
            problems += unknown_names(section, table, class_fields(deepspeed / source_name, class_name), f"DeepSpeed's {class_name}")
    return problems


def unchecked_libraries() -> list[str]:
    """Libraries that are not installed here, whose names `check_passthrough` therefore does not check."""
    return [name for name in ("vllm", "deepspeed") if library_folder(name) is None]


def library_folder(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def class_fields(source: Path, class_name: str) -> frozenset[str]:
    """The annotated fields of a class and their pydantic aliases, read from its source."""
    names: set[str] = set()
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ClassDef) and statement.name == class_name:
            fields = [field for field in statement.body if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)]
            names |= {field.target.id for field in fields if isinstance(field.target, ast.Name)}
            names |= {alias for field in fields if isinstance(field.value, ast.Call) for alias in aliases(field.value)}
    assert names, f"{source} no longer declares {class_name}"
    return frozenset(name for name in names if not name.startswith("_"))


def aliases(call: ast.Call) -> list[str]:
    return [str(word.value.value) for word in call.keywords if word.arg == "alias" and isinstance(word.value, ast.Constant)]


def unknown_names(section: str, table: dict[str, Any], known: frozenset[str], owner: str) -> list[str]:
    problems = []
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, 1)
            advice = translate(name) or (f"did you mean {section}.{near[0]}?" if near else "remove it")
            problems.append(f"{section}.{name}: got a name that {owner} does not have; {advice}")
    return problems
