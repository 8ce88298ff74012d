"""Values of `[rollout.vllm]` and `[learner.deepspeed]` against the types that the installed libraries declare."""

from pathlib import Path
from typing import Any

import pytest

from configs.field_types import field_type
from configs.field_values import refusal
from configs.passthrough import check_deepspeed, check_vllm, library_folder

needs_vllm = pytest.mark.skipif(library_folder("vllm") is None, reason="vLLM is not installed")
needs_deepspeed = pytest.mark.skipif(library_folder("deepspeed") is None, reason="DeepSpeed is not installed")
ZERO = "learner.deepspeed.zero_optimization"


@needs_vllm
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_num_seqs", "abc", 'got "abc", needed a whole number, at least 1'),
        ("max_num_seqs", -3, "got -3, needed a whole number, at least 1"),
        ("max_num_seqs", 10**400, "needed a number of at most 64 bits"),
        ("max_num_batched_tokens", 0, "got 0, needed a whole number, at least 1"),
        ("gpu_memory_utilization", 1.5, "got 1.5, needed a number, above 0, at most 1"),
        ("block_size", 2.5, "got 2.5, needed a whole number, above 0"),
        ("kv_cache_dtype", "fp9", 'got "fp9", needed one of "auto", "float16", "bfloat16", "fp8"'),
        ("quantization", "fp7", 'got "fp7", needed one of "awq"'),
        ("enforce_eager", "yes", 'got "yes", needed true or false'),
        ("scheduling_policy", "lifo", 'got "lifo", needed one of "fcfs", "priority"'),
        ("cpu_offload_params", "all", 'got "all", needed a list'),
    ],
)
def test_a_value_that_vllm_refuses_is_named_with_what_it_takes(name: str, value: Any, said: str) -> None:
    (line,) = check_vllm({name: value})
    assert line.startswith(f"rollout.vllm.{name}: ")
    assert said in line


@needs_vllm
def test_values_that_vllm_takes_are_let_through() -> None:
    fine = {
        "max_num_seqs": 256, "gpu_memory_utilization": 1, "enforce_eager": True, "compilation_config": {"level": 3}, "device_ids": [0, "1"],
        "hf_overrides": {"rope_theta": 1e6}, "cpu_offload_params": ["a"], "attention_backend": "FLASH_ATTN", "quantization": "fp8",
        "limit_mm_per_prompt": {"image": 1}, "load_format": "dummy", "served_model_name": ["a", "b"], "kv_cache_dtype": "auto",
    }  # fmt: skip
    assert list(check_vllm(fine)) == []


@needs_deepspeed
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"zero_optimization": {"reduce_bucket_size": -4}}, f"{ZERO}.reduce_bucket_size: got -4, needed a whole number, above 0"),
        ({"zero_optimization": {"overlap_comm": "yes"}}, f'{ZERO}.overlap_comm: got "yes", needed true or false'),
        (
            {"zero_optimization": {"offload_optimizer": {"device": "gpu"}}},
            f'{ZERO}.offload_optimizer.device: got "gpu", needed one of "none"',
        ),
        ({"zero_optimization": {"offload_optimizer": {"ratio": 2}}}, f"{ZERO}.offload_optimizer.ratio: got 2, needed a number, at least 0"),
        ({"wall_clock_breakdown": "no"}, 'learner.deepspeed.wall_clock_breakdown: got "no", needed true or false'),
        ({"data_types": {"grad_accum_dtype": "fp64"}}, 'learner.deepspeed.data_types.grad_accum_dtype: got "fp64", needed one of "fp32"'),
    ],
)
def test_a_value_that_deepspeed_refuses_is_named_with_what_it_takes(table: dict[str, Any], said: str) -> None:
    (line,) = check_deepspeed(table)
    assert line.startswith(said)


@needs_deepspeed
def test_values_that_deepspeed_takes_are_let_through() -> None:
    zero = {
        "stage": 3,
        "reduce_bucket_size": 5e8,
        "stage3_max_live_parameters": 10**9,
        "offload_param": {"device": "cpu", "nvme_path": "/x"},
    }
    assert list(check_deepspeed({"zero_optimization": zero, "data_types": {"grad_accum_dtype": "fp32"}, "dump_state": True})) == []


LIBRARY = {
    "settings.py": (
        "from toylib.words import Colour, Mode\nfrom toylib.sizes import SizeConfig\nfrom elsewhere import Other\n"
        'class Args:\n    mode: Mode = "a"\n    colour: Colour | None = None\n    size: int = SizeConfig.size\n'
        '    other: Other = None\n    depth: "Optional[int]" = 3\n    pair: Union[int, str] = 1\n'
    ),
    "words.py": 'from typing import Literal\nMode = Literal["a", "b"]\nclass Colour(str, Enum):\n    red = "red"\n    blue = "blue"\n',
    "sizes.py": "class SizeConfig:\n    size: int = Field(default=1, ge=1, le=9)\n",
}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("mode", ["a", "b"], ["c", 1]),
        ("colour", ["red", None], ["green"]),
        ("size", [1, 9], [0, 10, "1", True, 1.0]),
        ("other", ["anything", 3], []),
        ("depth", [3, None], ["x"]),
        ("pair", [1, "x"], [1.5, []]),
    ],
)
def test_types_are_followed_through_a_librarys_files(tmp_path: Path, name: str, good: list[Any], bad: list[Any]) -> None:
    root = tmp_path / "toylib"
    root.mkdir()
    for file, text in LIBRARY.items():
        (root / file).write_text(text)
    kind = field_type(root, root / "settings.py", "Args", name)
    assert kind is not None
    assert [value for value in good if refusal(kind, value)] == []
    assert [value for value in bad if not refusal(kind, value)] == []
    assert field_type(root, root / "settings.py", "Args", "none") is None
