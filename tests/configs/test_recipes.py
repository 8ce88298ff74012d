import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.checks.model import experts_of_the_model
from configs.arithmetic import plan, used_gpus
from configs.loader import dump, load
from configs.passthrough import check_passthrough, library_folder
from configs.rules.engine import gpus_per_engine
from configs.schema import Config
from configs.surrogates import Clip
from configs.toml_writer import write_toml
from tests.configs.test_configs import SMALLEST, config_with
from tests.toys.models import model_named

FOLDER = Path(__file__).parents[2] / "configs"
RECIPES = sorted(FOLDER.glob("*.toml"))
ON_CPUS = ("tiny_cpu.toml", "tiny_distill.toml", "tiny_tool.toml", "tiny_game.toml")
REAL = [path for path in RECIPES if path.name.startswith("qwen3_")]
MIXTURES = [path for path in REAL if "_a" in path.name]
QWEN3_KV_HEADS = 4
GPUS = {
    "qwen3_0p6b_1gpu.toml": 1,
    "qwen3_1p7b_2gpu.toml": 2,
    "qwen3_30b_a3b_8gpu.toml": 8,
    "qwen3_30b_a3b_grpo.toml": 32,
    "qwen3_30b_a3b_dapo.toml": 64,
    "qwen3_30b_a3b_gspo.toml": 32,
    "qwen3_235b_a22b_gspo.toml": 96,
}


def reloaded(config: Config, folder: Path) -> Config:
    path = folder / "config.toml"
    path.write_text(dump(config), encoding="utf-8")
    return load(path)


def by_name(path: Path) -> str:
    return path.stem


def test_the_shipped_recipes_are_those_the_issue_names() -> None:
    assert {path.name for path in RECIPES} == {*ON_CPUS, "tiny_gpu.toml", *GPUS}


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_a_recipe_loads_and_its_passed_through_names_exist(path: Path) -> None:
    assert check_passthrough(load(path)) == []


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_a_recipe_survives_being_written_and_read(path: Path, tmp_path: Path) -> None:
    config = load(path)
    assert reloaded(config, tmp_path) == config


@pytest.mark.parametrize("path", REAL, ids=by_name)
def test_a_recipe_uses_the_gpus_that_its_head_names(path: Path) -> None:
    config, head = load(path), path.read_text(encoding="utf-8").splitlines()
    used = used_gpus(config)
    assert used == GPUS[path.name]
    whole = f"{used // 8} node{'s' * (used > 8)} × 8 GPUs" if used >= 8 else f"{used} GPU{'s' * (used > 1)}"
    assert f": {whole} of " in head[0]
    engines, tensor, ranks = config.rollout.fewest_engines, gpus_per_engine(config), config.learner.ranks
    said = next(line for line in head if line.startswith("#   GPUs"))
    assert f"engines {engines} × tensor_parallel {tensor}" in said
    assert f"learner ranks {ranks}" in said
    assert said.endswith(f"share {used}" if config.placement.share else f"= {used}")
    assert any(f"train configs/{path.name}" in line for line in head)


def test_a_recipe_that_has_never_run_says_so() -> None:
    new = [path.name for path in RECIPES if path.name.endswith("gpu.toml")]
    assert len(new) == 4
    assert [name for name in new if "NOT YET RUN" not in "".join((FOLDER / name).read_text().splitlines()[:2])] == []


@pytest.mark.parametrize("path", REAL, ids=by_name)
def test_sides_that_share_gpus_take_turns_on_the_same_ones(path: Path) -> None:
    config = load(path)
    if config.placement.share:
        assert config.rollout.fewest_engines * gpus_per_engine(config) == config.learner.ranks
    assert (config.run.max_staleness == 0) == config.placement.share


@pytest.mark.parametrize("path", [path for path in RECIPES if path.name not in ON_CPUS], ids=by_name)
def test_the_batch_in_the_head_of_a_recipe_is_the_one_it_makes(path: Path) -> None:
    said = next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#   batch"))
    batch, share = said.removeprefix("#   batch").strip().rsplit(", ", 1)
    made = plan(load(path))[0]
    assert made.startswith(batch)
    assert re.search(rf"ranks? × {share.split()[0]} each", made)


@pytest.mark.parametrize("path", REAL, ids=by_name)
def test_a_recipe_reads_packed_responses_in_large_batches_with_graphs(path: Path) -> None:
    config = load(path)
    assert config.rollout.vllm["max_model_len"] == config.context_tokens
    assert config.rollout.vllm["max_num_batched_tokens"] >= 8192
    assert "enforce_eager" not in config.rollout.vllm
    assert config.learner.gradient_checkpointing
    assert config.learner.packing
    assert config.learner.micro_batch_tokens >= config.context_tokens


@pytest.mark.parametrize("path", MIXTURES, ids=by_name)
def test_a_mixture_is_spread_over_the_ranks_of_a_node_and_the_gpus_of_an_engine(path: Path) -> None:
    config = load(path)
    assert config.learner.expert_parallel == 8
    assert config.rollout.vllm["enable_expert_parallel"] is True
    assert config.rollout.vllm["tensor_parallel_size"] % QWEN3_KV_HEADS == 0
    assert 18432 <= config.learner.micro_batch_tokens <= 36864


@pytest.mark.parametrize("path", MIXTURES, ids=by_name)
def test_the_recorded_experts_in_the_head_of_a_cluster_recipe_weigh_what_they_weigh(path: Path) -> None:
    config, text = load(path), path.read_text(encoding="utf-8")
    layers = 94 if "235b" in path.name else 48
    each = layers * 8
    size = config.context_tokens * each / 1e6
    step = config.rollout.groups_per_step * config.rollout.group_size
    flight = (config.run.max_staleness + 1) * step
    assert f"{layers} layers × 8 × 1 B = {each} B a token: {flight} responses in flight of up to {size:.3g} MB" in text
    assert f"= {flight * size / 1e3:.3g} GB of Ray's" in text
    share = step // config.learner.ranks
    assert f"{share} of them a rank and step = {share * size / 1e3:.2g} GB of host memory" in text


def test_recipes_with_token_ratios_replay_the_engines_experts_and_those_with_sequence_ratios_do_not() -> None:
    routing = {path.name: load(path).learner.routing for path in MIXTURES}
    assert routing == {
        "qwen3_30b_a3b_8gpu.toml": "replay_rollout",
        "qwen3_30b_a3b_grpo.toml": "replay_rollout",
        "qwen3_30b_a3b_dapo.toml": "replay_rollout",
        "qwen3_30b_a3b_gspo.toml": "live",
        "qwen3_235b_a22b_gspo.toml": "live",
    }
    for path in MIXTURES:
        config = load(path)
        assert config.rollout.capture_routing
        assert config.mismatch.share > 0
        assert list(experts_of_the_model(config, model_named(Path(config.model.path).name))) == []


def test_the_dapo_recipe_has_the_constants_of_the_paper() -> None:
    config = load(FOLDER / "qwen3_30b_a3b_dapo.toml")
    assert (config.rollout.groups_per_step, config.rollout.group_size, config.learner.updates_per_step) == (512, 16, 16)
    assert (config.rollout.max_response_tokens, config.reward.overlong_cache) == (20480, 4096)
    assert (config.learner.lr, config.learner.warmup_updates) == (1e-6, 20 * 16)
    assert config.objective.resolved.surrogate == Clip(clip_low=0.2, clip_high=0.28)
    assert config.objective.resolved.reduction == "token_mean"
    assert config.dynamic_sampling


@pytest.mark.parametrize("name", ["qwen3_30b_a3b_gspo.toml", "qwen3_235b_a22b_gspo.toml"])
def test_the_gspo_recipes_clip_the_ratio_of_whole_responses(name: str) -> None:
    chosen = load(FOLDER / name).objective.resolved
    assert (chosen.ratio, chosen.surrogate) == ("sequence", Clip(clip_low=3e-4, clip_high=4e-4))


@pytest.mark.skipif(library_folder("vllm") is None, reason="vllm is not installed")
def test_a_misspelt_vllm_name_is_refused_with_the_right_one_suggested() -> None:
    (line,) = check_passthrough(config_with("rollout.vllm.tensor_paralel_size=2", "rollout.vllm.max_num_seqs=4"))
    assert line.startswith("rollout.vllm.tensor_paralel_size: got a name that vLLM's AsyncEngineArgs does not have")
    assert line.endswith("did you mean rollout.vllm.tensor_parallel_size?")
    assert check_passthrough(config_with("rollout.vllm.top_p=0.9"))


def test_a_misspelt_deepspeed_name_is_refused_with_the_right_one_suggested() -> None:
    (line,) = check_passthrough(config_with("learner.deepspeed.zero_optimisation={stage=2}"))
    assert "did you mean learner.deepspeed.zero_optimization?" in line


@pytest.mark.skipif(library_folder("deepspeed") is None, reason="deepspeed is not installed")
def test_a_misspelt_name_inside_zero_optimization_is_refused_and_an_alias_is_known() -> None:
    known = (
        'learner.deepspeed.zero_optimization={stage=3, stage3_prefetch_bucket_size=1, offload_optimizer={device="cpu", pin_memory=true}}'
    )
    assert check_passthrough(config_with(known)) == []
    (line,) = check_passthrough(config_with(known, "learner.deepspeed.zero_optimization.offload_optimizer.pin_memry=true"))
    assert "did you mean learner.deepspeed.zero_optimization.offload_optimizer.pin_memory?" in line


def test_the_plan_says_batch_updates_and_gpus() -> None:
    sizes = ["rollout.groups_per_step=64", "learner.updates_per_step=4", "learner.ranks=8", "run.max_staleness=1"]
    batch, window, objective, stale, devices = plan(config_with(*sizes, "rollout.engines=2", "rollout.vllm.tensor_parallel_size=4"))
    assert batch.startswith("64 prompts × 16 responses = 1024 responses a step → 4 updates of 256; 8 ranks × 32 each")
    assert "(1 + 1) × 64 groups × 16 = 2048 responses in flight" in window
    assert objective.startswith("objective: advantage standardised; token ratio to the learner's log-probs; surrogate clip (clip_low 0.2,")
    assert stale.startswith("responses may be 1 step stale, and no [correction] weight corrects for that")
    assert devices.startswith("engines 2 × 4 GPUs (tensor × pipeline parallel) = 8, learner ranks 8 × 1 GPU → 16 GPUs in all")


def test_the_plan_says_what_an_objective_comes_to() -> None:
    clips = ("objective.clip_low=3e-4", "objective.clip_high=4e-4")
    lines = plan(
        config_with(
            "objective.preset=gspo",
            "learner.updates_per_step=1",
            *clips,
            "correction.preset=mis",
            "kl.reference=initial",
            "kl.coefficient=0.1",
        )
    )
    assert "sequence ratio to the learner's log-probs; surrogate clip (clip_low 0.0003, clip_high 0.0004); sequence_mean" in lines[2]
    assert "correction weight token, keep token, keep_low 0.5, keep_high 2.0; KL 0.1 × ratio_k3 in the loss to initial" in lines[2]
    assert lines[3].startswith("one update a step: its ratio to the learner's log-probs is always 1")


def test_an_uneven_share_of_an_update_is_said() -> None:
    assert "3 ranks × 85 to 86 each" in plan(config_with("learner.ranks=3"))[0]


def test_an_engine_takes_tensor_times_pipeline_gpus() -> None:
    assert gpus_per_engine(config_with()) == 1
    assert gpus_per_engine(config_with("rollout.vllm={tensor_parallel_size=4, pipeline_parallel_size=2}")) == 8


def test_a_dumped_config_loads_to_an_equal_one(tmp_path: Path) -> None:
    config = config_with(
        "data.chat_template=true",
        'data.system="quote \\" backslash \\\\ line\\n tab\\t umlaut ü del\\u007f"',
        'rollout.vllm={"odd key" = 1, inner = {a = [1, 2.5, "x", {b = true}], empty = {}}, when = 2026-01-02T03:04:05}',
        "learner.lr=1e-7",
        'learner.deepspeed={zero_optimization = {stage = 2, offload_optimizer = {device = "cpu"}}, steps_per_print = 10}',
    )
    assert reloaded(config, tmp_path) == config


def test_a_dumped_config_leaves_none_out_and_says_every_default() -> None:
    table = tomllib.loads(dump(Config.model_validate(SMALLEST)))
    assert "eval" not in table["data"]
    assert table["rollout"]["group_size"] == 8


@pytest.mark.parametrize("table", [{}, {"a": 1}, {"a": {"b": {}}}, {"a": {"b": {"c": [-1.5, float("inf"), 1e300]}}, "z": False}])
def test_written_toml_is_read_back_equal(table: dict[str, Any]) -> None:
    assert tomllib.loads(write_toml(table)) == table


def test_reading_a_config_imports_no_heavy_library() -> None:
    heavy = "torch ray vllm deepspeed numpy"
    code = f"import sys, configs.loader, configs.passthrough, configs.memory.table; print(set({heavy!r}.split()) & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_a_config_is_checked_in_well_under_a_second() -> None:
    started = time.perf_counter()
    check_passthrough(config_with())
    assert time.perf_counter() - started < 1
