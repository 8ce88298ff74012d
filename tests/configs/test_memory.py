"""The memory of a run, as `validate`, the heads of the recipes and docs/gpu.md give it."""

from pathlib import Path

import pytest

from configs.memory.engine import chunk_bytes
from configs.memory.learner import states, weights
from configs.memory.page import PAGE, Recipe, head, recipes, with_head, with_table
from configs.memory.parts import Place
from configs.memory.sizes import sizes_of
from configs.memory.table import FULL, Memory, describe_memory, memory_of, memory_warnings
from configs.parameters import Parameters, count_parameters
from tests.configs.test_configs import config_with
from tests.toys.models import MODELS, model_named

QWEN3_30B_A3B, QWEN3_235B_A22B = model_named("Qwen3-30B-A3B"), model_named("Qwen3-235B-A22B")
RECIPES = recipes(MODELS)
ZERO = "learner.deepspeed.zero_optimization"
GB = 1e9
TOTAL, EXPERTS = 30_532_122_624, 48 * 128 * 3 * 2048 * 768  # of Qwen3-30B-A3B


def name(recipe: Recipe) -> str:
    return recipe.path.stem


def whole(*overrides: str, model: str = "Qwen3-30B-A3B", gpu_gb: float = 80) -> Memory:
    found = memory_of(config_with("model.dtype=bfloat16", *overrides), model_named(model), gpu_gb)
    assert found is not None
    return found


def rank(*overrides: str) -> Place:
    return whole(*overrides).gpus[0]


def test_parameters_counted_from_a_config_are_those_of_the_published_checkpoints() -> None:
    assert count_parameters(QWEN3_30B_A3B) == Parameters(total=TOTAL, active=3_353_032_704)
    assert count_parameters(model_named("Qwen3-30B-A3B-Base")) == Parameters(total=TOTAL, active=3_353_032_704)
    assert count_parameters(QWEN3_235B_A22B) == Parameters(total=235_093_634_560, active=22_190_763_520)
    assert count_parameters(model_named("Qwen3-0.6B")) == Parameters(total=596_049_920, active=596_049_920)
    assert count_parameters(model_named("Qwen3-1.7B")) == Parameters(total=1_720_574_976, active=1_720_574_976)
    assert count_parameters({"model_type": "mamba"}) is None


def test_layers_and_experts_of_a_model_add_up_to_its_parameters() -> None:
    for named in ("Qwen3-30B-A3B", "Qwen3-235B-A22B", "Qwen3-0.6B", "Qwen3-1.7B", "tiny"):
        model = model_named(named)
        sizes = sizes_of(model)
        assert sizes is not None
        heads = sizes.embedding * (1 if model["tie_word_embeddings"] else 2)
        assert sizes.layers * sizes.layer + heads + sizes.hidden == sizes.total, named
        assert sizes.experts == sizes.sparse_layers * sizes.layer_experts


@pytest.mark.parametrize(
    ("overrides", "gigabytes"),
    [
        ([], 30.532 * (12 + 2 + 2)),
        ([f"{ZERO}.stage=1"], 30.532 * (12 / 16 + 2 + 2)),
        ([f"{ZERO}.stage=2"], 30.532 * (14 / 16 + 2)),
        ([f"{ZERO}.stage=3"], 30.532),
        (['learner.deepspeed={zero_optimization={stage=3}, data_types={grad_accum_dtype="fp32"}}'], 30.532 * 18 / 16),
        ([f'{ZERO}={{stage=3, offload_optimizer={{device="cpu"}}}}'], 30.532 * 2 / 16),
        ([f"{ZERO}.stage=3", "kl.reference=initial", "kl.coefficient=0.1"], 30.532 * (1 + 2 / 16)),
        ([f"{ZERO}.stage=3", "rollout.full_every=9"], 30.532 * (1 + 2 / 16)),
        ([f"{ZERO}.stage=1", "rollout.full_every=9"], 30.532 * (12 / 16 + 2 + 2 + 2 / 16)),
    ],
)
def test_the_learner_state_is_divided_as_the_zero_stage_does(overrides: list[str], gigabytes: float) -> None:
    sizes = sizes_of(QWEN3_30B_A3B)
    assert sizes is not None
    config = config_with("model.dtype=bfloat16", "learner.ranks=16", *overrides)
    parts = {**states(config, sizes), **weights(config, sizes), "reduce buckets": 0}
    assert sum(parts.values()) / GB == pytest.approx(gigabytes, rel=1e-3)


def test_experts_are_divided_over_their_group_and_the_rest_over_all_ranks() -> None:
    parts = rank("learner.ranks=16", "learner.expert_parallel=8", f"{ZERO}.stage=2").stays
    assert parts["weights"] == 2 * (TOTAL - EXPERTS + EXPERTS / 8)
    assert parts["masters and moments"] == 12 * TOTAL / 16


def test_checkpointing_trades_stored_activations_for_one_layer() -> None:
    few, many = (rank(f"learner.gradient_checkpointing={asked}").at("backward") for asked in ("true", "false"))
    assert few["stored activations"] < many["stored activations"] / 50
    assert "a layer computed again" in few
    assert "a layer computed again" not in many


def test_a_chunk_is_bounded_by_the_largest_fused_tensor() -> None:
    sizes = sizes_of(QWEN3_235B_A22B)
    assert sizes is not None
    fused = 128 * 2 * 1536 * 4096 * 2  # bytes of one layer's gate and up projections in bfloat16
    assert fused < chunk_bytes(config_with("model.dtype=bfloat16"), sizes) < fused + (1 << 30)


def test_keys_and_values_get_what_the_utilisation_leaves_and_a_head_is_on_one_gpu() -> None:
    one, four = whole("rollout.vllm.tensor_parallel_size=4"), whole("rollout.vllm={tensor_parallel_size=4, gpu_memory_utilization=0.5}")
    assert one.cache.tokens > four.cache.tokens > 0
    for found in (one, four):
        kept = found.gpus[1].stays["keys and values"]
        assert found.cache.tokens == pytest.approx(kept / (48 * 1 * 128 * 2 * 2))


def test_sides_that_share_a_gpu_both_hold_weights_only_during_a_publish() -> None:
    overrides = ["placement.share=true", "learner.ranks=8", "rollout.engines=2", "rollout.vllm.tensor_parallel_size=4", f"{ZERO}.stage=3"]
    place = whole(*overrides).gpus[0]
    assert "weights" in place.at("generate")
    assert "masters and moments" not in place.at("generate")
    assert "keys and values" not in place.at("backward")
    assert {"engine's weights", "rank's masters and moments"} <= place.at("publish").keys()
    assert "keys and values" not in place.at("publish")
    assert whole(*overrides).cache == whole(*overrides, "rollout.vllm.gpu_memory_utilization=0.85").cache, (
        "as the engine gets without a word"
    )


def test_what_does_not_fit_is_a_warning_that_says_what_to_change() -> None:
    lines = list(memory_warnings(config_with("model.dtype=bfloat16"), QWEN3_30B_A3B, None))
    assert "learner rank would hold about" in lines[0]
    assert "a GPU of 80 GB (assumed) has 85 GB: " in lines[0]
    assert "offload_optimizer" in lines[0]
    (line,) = memory_warnings(config_with("model.dtype=bfloat16"), model_named("Qwen3-0.6B"), 80, host=1e9)
    assert "of host memory in learn, and this machine has 1 GB" in line
    assert any("engine has room for 0 whole contexts" in line for line in memory_warnings(config_with(), QWEN3_235B_A22B, 80))
    assert list(memory_warnings(config_with(), model_named("tiny"), 8)) == []


def test_the_description_names_the_gpu_and_whether_it_is_assumed() -> None:
    config = config_with("model.dtype=bfloat16")
    assert "assumed GPUs of 80 GB" in describe_memory(config, QWEN3_30B_A3B, None)[0]
    assert "GPUs of 24 GB" in describe_memory(config, QWEN3_30B_A3B, 24)[0]
    assert describe_memory(config, {}, None) == []
    assert describe_memory(config, model_named("tiny"), None) == ["1.01M parameters: every GPU has room for them"]


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_a_recipe_fits_the_gpus_that_it_names(recipe: Recipe) -> None:
    assert list(memory_warnings(recipe.config, recipe.model, recipe.gpu_gb)) == []
    assert all(place.peak <= FULL * recipe.memory.gpu for place in recipe.memory.gpus)


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_the_head_of_a_recipe_has_the_memory_that_is_computed(recipe: Recipe) -> None:
    text = recipe.path.read_text(encoding="utf-8")
    assert head(recipe) in text, "out of date: run python -m configs.memory tests/data/models"
    assert with_head(text, head(recipe)) == text


def test_the_table_of_the_page_is_the_one_that_is_computed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, MODELS) == page, "out of date: run python -m configs.memory tests/data/models"


def test_no_recipe_is_missing_and_each_real_one_says_what_it_needs_of_a_host() -> None:
    folder = Path(PAGE).parents[1] / "configs"
    assert {recipe.path.name for recipe in RECIPES} == {path.name for path in folder.glob("*.toml")} - {
        "tiny_cpu.toml",
        "tiny_distill.toml",
        "tiny_tool.toml",
        "tiny_game.toml",
    }
    hungry = [recipe for recipe in RECIPES if recipe.memory.host.peak > 500 * GB]
    assert all("2 TB of host memory" in recipe.path.read_text(encoding="utf-8") for recipe in hungry)
    assert all(recipe.memory.host.peak < 1500 * GB for recipe in RECIPES)
