"""Checks the names and values in `[rollout.vllm]` and `[learner.deepspeed]` against the installed libraries.

They are read from the libraries' source, because importing the libraries takes far longer than checking a config should.
"""

import ast
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from configs.field_types import FieldType, annotated, class_in, field_type, number_of, parsed, read_named, text_of
from configs.field_values import refusal
from configs.rules.engine import DEEPSPEED_OWNED
from configs.schema import Config
from configs.tables import Table, inner_table
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
    """A line for each name that vLLM or DeepSpeed does not have, and for each value that it would refuse.

    A library that is not installed is not checked.
    """
    return [*check_vllm(config.rollout.vllm), *check_deepspeed(config.learner.deepspeed)]


def check_vllm(table: Table) -> Iterator[str]:
    """The lines for `[rollout.vllm]`."""
    if not (vllm := library_folder("vllm")):
        return
    source = vllm / "engine" / "arg_utils.py"
    known = class_fields(source, "EngineArgs") | class_fields(source, "AsyncEngineArgs")
    yield from unknown_names("rollout.vllm", table, known, "vLLM's AsyncEngineArgs")
    for name, value in table.items():
        kind = field_type(vllm, source, "EngineArgs", name) or field_type(vllm, source, "AsyncEngineArgs", name)
        yield from unfit("rollout.vllm", name, value, kind)
    if isinstance(asked := table.get("quantization"), str):  # its type also takes any string, and the engine fails on it
        yield from unfit("rollout.vllm", "quantization", asked, FieldType(read_named(vllm, source, "QuantizationMethods"), {}))


def check_deepspeed(table: Table) -> Iterator[str]:
    """The lines for `[learner.deepspeed]`."""
    yield from unknown_names("learner.deepspeed", table, DEEPSPEED_KEYS, "DeepSpeed")
    if not (deepspeed := library_folder("deepspeed")):
        return
    constants = constants_of(deepspeed / "runtime" / "constants.py")
    for name, value in table.items():
        if name not in DEEPSPEED_OWNED and (default := constants.get(name)) is not None:
            yield from unfit("learner.deepspeed", name, value, FieldType(float if type(default) is int else type(default), {}))
    for path, (source_name, class_name) in ZERO_CLASSES.items():
        inner, section, source = inner_table(table, path), ".".join(("learner.deepspeed", *path)), deepspeed / source_name
        yield from unknown_names(section, inner, class_fields(source, class_name), f"DeepSpeed's {class_name}")
        for name, value in inner.items():
            if (*path, name) != ("zero_optimization", "stage"):  # `zero_stage_exists` says more
                whole = int(value) if isinstance(value, float) and value.is_integer() else value  # DeepSpeed takes 5e8 as a count
                yield from unfit(section, name, whole, field_type(deepspeed, source, class_name, name))
    types = inner_table(table, ("data_types",))
    if "grad_accum_dtype" in types:
        kind = FieldType(Literal["fp32", "float32", "fp16", "float16", "bf16", "bfloat16"], {})
        yield from unfit("learner.deepspeed.data_types", "grad_accum_dtype", types["grad_accum_dtype"], kind)


def unfit(section: str, name: str, value: object, kind: FieldType | None) -> Iterator[str]:
    """A line where the library would refuse a value."""
    if kind and (wrong := refusal(kind, value)):
        yield f"{section}.{name}: {wrong}: correct it, or remove it for the library's default"


@cache
def constants_of(source: Path) -> dict[str, bool | float]:
    """Key -> default of DeepSpeed's untyped keys, from pairs such as `DUMP_STATE = "dump_state"` and `DUMP_STATE_DEFAULT = False`."""
    values = {
        node.targets[0].id: node.value
        for node in parsed(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    keys = ((key, number_of(values[f"{name}_DEFAULT"])) for name in values if f"{name}_DEFAULT" in values for key in text_of(values[name]))
    return {key: default for key, default in keys if default is not None}


def unchecked_libraries() -> list[str]:
    """Libraries that are not installed here, whose names `check_passthrough` therefore does not check."""
    return [name for name in ("vllm", "deepspeed") if library_folder(name) is None]


def library_folder(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def class_fields(source: Path, class_name: str) -> frozenset[str]:
    """The annotated fields of a class and their pydantic aliases, read from its source."""
    found = class_in(source, class_name)
    assert found, f"{source} no longer declares {class_name}"
    return frozenset(name for name, _ in annotated(found) if not name.startswith("_"))


def unknown_names(section: str, table: dict[str, Any], known: frozenset[str], owner: str) -> list[str]:
    problems = []
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, 1)
            advice = translate(name) or (f"did you mean {section}.{near[0]}?" if near else "remove it")
            problems.append(f"{section}.{name}: got a name that {owner} does not have; {advice}")
    return problems
