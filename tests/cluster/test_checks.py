"""The checks behind `validate` that look at the machine, the engine, run.dir and at settings that hardly can be meant."""

import fcntl
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, Qwen3MoeForCausalLM

from cluster.actors.places import device
from cluster.commands.checks import folder, machine
from cluster.commands.checks.attention import missing_package, refuse_attention
from cluster.commands.checks.engine import cpu_problems, engine_problems
from cluster.commands.checks.findings import Findings
from cluster.commands.checks.sense import doubtful, repeated_prompts
from cluster.record.run_dir import refuse_locked
from configs.parameters import Parameters
from configs.schema import Config
from configs.sections.data import DataConfig
from tests.configs.test_configs import config_with
from tests.toys.model import tiny_config
from tests.toys.run import run_config

MODEL = {
    "model_type": "qwen3_moe", "num_attention_heads": 8, "num_key_value_heads": 2, "num_hidden_layers": 4, "hidden_size": 512,
    "head_dim": 64, "moe_intermediate_size": 64, "intermediate_size": 64, "num_experts": 8, "max_position_embeddings": 4096,
}  # fmt: skip
FLASH = ("learner.attention=flash_attention_2", "model.dtype=bfloat16")
CPUS, GPUS = [{"CPU": 8.0, "GPU": 0.0}], [{"CPU": 8.0, "GPU": 8.0}]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("rollout.vllm.tensor_parallel_size=3", "got 3, needed a divisor of the 8 attention heads of model.path no/such/model: use 2 or 4"),
        ("rollout.vllm.tensor_parallel_size=16", "got 16, needed a divisor of the 8 attention heads"),
        ("rollout.vllm.pipeline_parallel_size=5", "got 5, needed at most 4, the layers of"),
        ("rollout.vllm.max_model_len=5000", "got 5000, needed at most 4096, the context of"),
        ("rollout.vllm.quantization=fp8 model.dtype=float32", 'got "fp8" with engines in float32'),
    ],
)
def test_what_vllm_refuses_of_a_model_is_named(overrides: str, said: str) -> None:
    (line,) = engine_problems(config_with(*overrides.split()), MODEL)
    assert line.startswith(overrides.split("=")[0])
    assert said in line


def test_key_value_heads_are_shared_evenly() -> None:
    (line,) = engine_problems(config_with("rollout.vllm.tensor_parallel_size=3"), MODEL | {"num_attention_heads": 6})
    assert "needed a divisor or a multiple of the 2 key-value heads" in line
    assert list(engine_problems(config_with("rollout.vllm.tensor_parallel_size=8"), MODEL)) == []


def test_sizes_without_a_kernel_on_cpu_are_named() -> None:
    odd = {"head_dim": 48, "hidden_size": 500, "moe_intermediate_size": 60}
    lines = list(cpu_problems(config_with(), MODEL | odd))
    assert [said in line for said, line in zip(("heads of 48", "hidden_size of 500", "expert of 60"), lines, strict=True)] == [True] * 3
    assert list(cpu_problems(config_with(), MODEL)) == []


def test_an_attention_that_the_model_lacks_is_refused_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_attention(config_with(*FLASH), tiny_config())
    monkeypatch.setattr(Qwen3MoeForCausalLM, "_supports_flash_attn", False)
    with pytest.raises(
        ValueError, match='"flash_attention_2", which Qwen3MoeForCausalLM in transformers does not have: use "sdpa", "eager"'
    ):
        refuse_attention(config_with(*FLASH), tiny_config())
    refuse_attention(config_with(), tiny_config())


CUDA = device.Builds("2.13.0", "13.0", None)


def found_on(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], address: str, *overrides: str) -> Findings:
    monkeypatch.setattr(machine, "this_machine", lambda: nodes)
    monkeypatch.setattr(device, "installed", lambda: CUDA)
    monkeypatch.setenv("RAY_ADDRESS", address)
    found = Findings()
    machine.check_machine(config_with(*overrides), MODEL, found)
    return found


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("rollout.transfer=nccl",), 'rollout.transfer: got "nccl", which sends weights between GPUs'),
        (FLASH, 'learner.attention: got "flash_attention_2", whose kernels need a GPU'),
        (("rollout.vllm.enable_chunked_prefill=true",), "rollout.vllm.enable_chunked_prefill got true on a machine without GPUs"),
        (("learner.ranks=20",), "21 CPUs are needed, but 1 node with 8 CPUs"),
    ],
)
def test_what_a_machine_without_gpus_cannot_is_refused_there_and_noted_for_a_cluster(
    monkeypatch: pytest.MonkeyPatch, overrides: Sequence[str], said: str
) -> None:
    here = found_on(monkeypatch, CPUS, "", *overrides)
    assert [said in problem for problem in here.problems] == [True]
    assert "RAY_ADDRESS=auto" in here.notes[0]
    there = found_on(monkeypatch, CPUS, "auto", *overrides)
    assert there.problems == []
    assert any(said in note for note in there.notes) == ("ranks" not in overrides[0])


def test_flash_attention_needs_its_package_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.commands.checks.attention.PACKAGES", ("no_such_package",))
    (problem,) = found_on(monkeypatch, GPUS, "", *FLASH).problems
    assert problem == missing_package(config_with(*FLASH))
    assert "the package flash_attn is not installed here" in problem
    monkeypatch.setattr("cluster.commands.checks.attention.PACKAGES", ("json",))
    assert found_on(monkeypatch, GPUS, "", *FLASH, "rollout.transfer=nccl").problems == []


def test_every_problem_is_listed_not_only_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(found_on(monkeypatch, CPUS, "", *FLASH, "rollout.transfer=nccl", "learner.ranks=20").problems) == 3


SMALL, LARGE = Parameters(10**6, 10**6), Parameters(3 * 10**10, 3 * 10**9)


@pytest.mark.parametrize(
    ("overrides", "family", "parameters", "said"),
    [
        ("learner.lr=1e-4", "qwen3_moe", LARGE, "learner.lr = 0.0001 destroys a model"),
        ("learner.lr=1e-3", None, None, "learner.lr = 0.001 destroys a model"),
        ("learner.lr=0.5", "qwen3_moe", SMALL, "learner.lr = 0.5 destroys even a tiny model"),
        ("learner.lr=1e-12", "qwen3_moe", SMALL, "learner.lr = 1e-12 hardly moves a weight"),
        ("rollout.temperature=1.9", "qwen3_moe", LARGE, "rollout.temperature = 1.9 makes responses almost random"),
        ("rollout.temperature=0.01", "qwen3_moe", LARGE, "makes the responses of a group alike"),
        ("run.deadline_s=5", "qwen3_moe", LARGE, "run.deadline_s = 5 is below 60 s, and a start takes about a minute"),
        (
            "run.deadline_s=100 rollout.max_response_tokens=32768 learner.micro_batch_tokens=40000",
            "qwen3_moe",
            LARGE,
            "run.deadline_s = 100 is below 327.68 s, and 32768 tokens take about that long",
        ),
        ("learner.router_dtype=model", "qwen3", LARGE, 'learner.router_dtype = "model" has no effect on Qwen3'),
        ("learner.router_dtype=model", "glm4_moe", LARGE, "has no effect on GLM-4.5-MoE"),
    ],
)
def test_what_hardly_can_be_meant_is_a_warning(overrides: str, family: str | None, parameters: Parameters | None, said: str) -> None:
    (line,) = doubtful(config_with(*overrides.split()), family, parameters)
    assert said in line


def test_settings_that_can_be_meant_are_silent() -> None:
    assert list(doubtful(config_with("learner.lr=1e-4"), "qwen3_moe", SMALL)) == []
    assert list(doubtful(config_with("learner.lr=1e-6", "learner.router_dtype=model"), "qwen3_moe", LARGE)) == []
    assert list(repeated_prompts(config_with(), {"": 64})) == []


def test_fewer_prompts_than_groups_are_a_warning() -> None:
    (line,) = repeated_prompts(config_with(), {"": 3})
    assert line.startswith("rollout.groups_per_step (32) is above the 3 prompts of data.train, so a step draws each of them 10 to 11 times")


def test_a_source_that_is_smaller_than_its_part_of_a_step_is_a_warning() -> None:
    tables = {"small": {"path": "a.jsonl", "share": 0.25}, "large": {"path": "b.jsonl", "share": 0.75}}
    config = config_with().model_copy(update={"data": DataConfig.model_validate({"sources": tables})})
    (line,) = repeated_prompts(config, {"large": 500, "small": 3})
    assert line.startswith(
        "data.sources.small gives up to 8 of the 32 groups of a step, but has 3 prompts, so a step draws some of them more"
    )
    assert list(repeated_prompts(config, {"large": 500, "small": 8})) == []


def test_a_run_dir_that_is_a_file_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, said in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "run", "is a file"),
        (Path("/proc/run"), "cannot be written"),
    ):
        with pytest.raises(ValueError, match=said):
            folder.refuse_unwritable(place)
    folder.refuse_unwritable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def sized(tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch, **run: Any) -> Config:
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    return run_config(tmp_path / "run", run={"dir": str(tmp_path / "run"), "keep_checkpoints": 2, **run})


def test_a_disk_without_room_is_refused_and_one_with_little_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="has 90 MB free, and a checkpoint takes about 100 MB: free it"):
        folder.check_room(sized(tmp_path, 90 * 10**6, monkeypatch), 100 * 10**6)
    (line,) = folder.check_room(sized(tmp_path, 250 * 10**6, monkeypatch), 100 * 10**6)
    assert "run.keep_checkpoints = 2 needs room for 3 more" in line
    (tmp_path / "run/checkpoints/step_000001").mkdir(parents=True)
    assert folder.check_room(sized(tmp_path, 250 * 10**6, monkeypatch), 100 * 10**6) == []


def test_a_checkpoint_is_as_large_as_its_weights_and_its_optimizer() -> None:
    count = Parameters(1000, 1000)
    assert folder.checkpoint_bytes(config_with("model.dtype=float32"), count) == 12_000
    assert folder.checkpoint_bytes(config_with("model.dtype=bfloat16"), count) == 12_000
    renewed = ("model.dtype=bfloat16", "kl.reference=initial", "kl.coefficient=0.1", "kl.refresh_every=1")
    assert folder.checkpoint_bytes(config_with(*renewed), count) == 14_000
    assert folder.checkpoint_bytes(config_with("model.dtype=float32", "learner.deepspeed.zero_optimization.stage=2"), count) == 12_000


def test_the_lock_of_another_driver_is_seen_without_taking_it(tmp_path: Path) -> None:
    config = run_config(tmp_path / "run")
    refuse_locked(config)
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        refuse_locked(config)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"in use by another driver \(process 4711\)"):
            refuse_locked(config)


def test_a_class_of_the_models_own_folder_is_left_to_transformers() -> None:
    class Own(type(AutoConfig.for_model("llama"))):
        pass

    refuse_attention(config_with(*FLASH), Own())


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("model", "is in the folder of model.path"),
        ("model/deep/run", "is in the folder of model.path"),
        ("link/run", "is in the folder of model.path"),
        ("other/checkpoints", "is in the checkpoints of the run"),
        ("other/checkpoints/step_3", "is in the checkpoints of the run"),
        ("b" * 300, "cannot be a path here (File name too long)"),
        ("loop/run", "cannot be a path here"),
        ("checkpoints/mine", None),
        ("models-of-mine", None),
    ],
)
def test_a_run_dir_that_would_mix_with_other_files_or_cannot_be_a_path_is_refused(tmp_path: Path, place: str, said: str | None) -> None:
    for name in ("model/config.json", "other/config.toml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    asked = config_with(f"run.dir={tmp_path / place}", f"model.path={tmp_path / 'model'}")
    with nullcontext() if said is None else pytest.raises(ValueError, match=re.escape(said)):
        folder.refuse_place(asked)
