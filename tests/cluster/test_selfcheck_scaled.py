"""What a selfcheck makes of a recipe: a small model of its family, and sizes that fit the GPUs that there are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from cluster.commands.checks.engine import cpu_problems, engine_problems
from cluster.commands.selfcheck.scaled import prepare as scaled
from cluster.commands.selfcheck.scaled.prepare import prepare, refuse_absent_gpus, tiny_recipe
from cluster.commands.selfcheck.scaled.settings import changes, config_of
from cluster.commands.selfcheck.scaled.shrink import ON_CPU, ON_GPU, shrunk
from cluster.commands.selfcheck.scaled.sizes import RunSizes, fitted
from cluster.commands.selfcheck.scaled.small_model import write_small_model
from cluster.commands.validate import check
from configs.errors import InputError
from configs.families import FAMILIES, number_of_experts
from configs.loader import load
from configs.parameters import count_parameters, is_sparse
from configs.schema import Config
from learner.tiny.tokenizer import make_tokenizer

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("qwen3*.toml"))
Model = dict[str, Any]
# The sizes of published models of each family, as their config.json has them.
LARGE: dict[str, Model] = {
    "qwen3_moe": {
        "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "max_window_layers": 48, "vocab_size": 151936,
    },
    "qwen2_moe": {
        "hidden_size": 2048, "intermediate_size": 5632, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
        "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
        "decoder_sparse_step": 1, "max_window_layers": 21, "vocab_size": 151936,
    },
    "olmoe": {
        "hidden_size": 2048, "intermediate_size": 1024, "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 16,
        "num_experts": 64, "num_experts_per_tok": 8, "vocab_size": 50304,
    },
    "mixtral": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000,
    },
    "glm4_moe": {
        "hidden_size": 4096, "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 46, "num_attention_heads": 96,
        "num_key_value_heads": 8, "head_dim": 128, "n_routed_experts": 128, "num_experts_per_tok": 8, "n_shared_experts": 1,
        "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_nextn_predict_layers": 1, "attention_bias": True,
        "partial_rotary_factor": 0.5, "vocab_size": 151552,
    },
    "qwen3": {
        "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 151936,
    },
    "qwen2": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "layer_types": ["full_attention"] * 28, "vocab_size": 152064,
    },
    "llama": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
}  # fmt: skip
each_family = pytest.mark.parametrize("family", FAMILIES)


def large(family: str) -> Model:
    return {"model_type": family, "tie_word_embeddings": False, **LARGE[family]}


def head_size(model: Model) -> int:
    return int(model.get("head_dim") or model["hidden_size"] // model["num_attention_heads"])


def recipe(**overrides: object) -> Config:
    return load(ROOT / "configs/qwen3_30b_a3b_dapo.toml", [f"{key}={value}" for key, value in overrides.items()])


@each_family
@pytest.mark.parametrize("room", [ON_CPU, replace(ON_GPU, tensor_parallel=4, spread=8)], ids=["cpu", "wide"])
def test_a_small_model_of_each_family_keeps_what_makes_the_family(family: str, room: Any) -> None:
    whole = large(family)
    small = shrunk(whole, room)
    assert head_size(small) == head_size(whole)
    assert small["num_attention_heads"] // small["num_key_value_heads"] == whole["num_attention_heads"] // whole["num_key_value_heads"]
    sizes = {
        "hidden_size", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "num_experts", "num_local_experts", "n_routed_experts", "max_window_layers",
        "num_nextn_predict_layers", "layer_types", "initializer_range",
    }  # fmt: skip
    assert {key: value for key, value in small.items() if key not in sizes} == {
        key: value for key, value in whole.items() if key not in sizes
    }, "all that is no size stays"
    found, before = count_parameters(small), count_parameters(whole)
    assert found is not None
    assert before is not None
    assert found.total < before.total / 5
    config = recipe().model_copy(
        update={"rollout": recipe().rollout.model_copy(update={"vllm": {"tensor_parallel_size": room.tensor_parallel}})}
    )
    assert [*engine_problems(config, small), *cpu_problems(config, small)] == []
    if room == ON_CPU:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**small))
        assert model.num_parameters() == found.total, "transformers builds it, with the sizes that are written there"
    if experts := number_of_experts(whole):
        assert 2 * whole["num_experts_per_tok"] <= number_of_experts(small) <= experts
        assert number_of_experts(small) % room.spread == 0 or number_of_experts(small) == experts
        assert any(is_sparse(small, layer) for layer in range(small["num_hidden_layers"]))
    if family == "glm4_moe":
        assert not is_sparse(small, 0), "its first layer stays dense"


def test_a_router_with_groups_keeps_as_many_experts_as_its_groups_need() -> None:
    grouped = large("glm4_moe") | {"n_group": 8, "topk_group": 4, "n_routed_experts": 256}
    small = shrunk(grouped, ON_CPU)
    assert small["n_routed_experts"] == 16
    assert small["n_routed_experts"] // 8 * 4 >= small["num_experts_per_tok"], "the chosen groups hold a token's experts"


def test_layers_without_experts_never_take_all_that_is_left() -> None:
    small = shrunk(large("qwen3_moe") | {"mlp_only_layers": [0, 1, 2, 3]}, ON_CPU)
    assert small["mlp_only_layers"] == [0]
    assert is_sparse(small, 1)


def test_a_small_model_has_the_recipes_tokenizer_or_the_tiny_one(tmp_path: Path) -> None:
    own = tmp_path / "recipe"
    make_tokenizer().save_pretrained(own)
    whose = write_small_model(own, large("qwen3_moe") | {"vocab_size": 84}, ON_CPU, "float32", tmp_path / "own")
    assert "own" in whose
    assert AutoTokenizer.from_pretrained(tmp_path / "own").vocab_size == AutoTokenizer.from_pretrained(own).vocab_size
    whose = write_small_model(tmp_path, large("glm4_moe"), ON_CPU, "bfloat16", tmp_path / "tiny")
    assert "tiny" in whose
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny", dtype="auto")
    assert model.dtype == torch.bfloat16
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(tmp_path / "tiny"))
    bias = next(buffer for name, buffer in model.named_buffers() if name.endswith("e_score_correction_bias"))
    assert bias.abs().sum() > 0


@pytest.mark.parametrize(
    ("gpus", "sizes"),
    [
        (0, RunSizes(engines=2, tensor_parallel=1, ranks=2, expert_parallel=2)),
        (2, RunSizes(engines=1, tensor_parallel=1, ranks=1, expert_parallel=1)),
        (4, RunSizes(engines=1, tensor_parallel=2, ranks=2, expert_parallel=2)),
        (8, RunSizes(engines=2, tensor_parallel=2, ranks=4, expert_parallel=4)),
        (64, RunSizes(engines=8, tensor_parallel=4, ranks=32, expert_parallel=8)),
    ],
)
def test_a_recipe_is_cut_down_to_the_gpus_that_there_are(gpus: int, sizes: RunSizes) -> None:
    assert fitted(recipe(**{"learner.expert_parallel": 8}), gpus) == sizes


def test_one_gpu_is_refused_unless_both_sides_share_it() -> None:
    with pytest.raises(InputError, match=r"there is 1 GPU: set placement\.share = true"):
        fitted(recipe(), 1)
    assert fitted(tiny_recipe(1), 1) == RunSizes(engines=1, tensor_parallel=1, ranks=1, expert_parallel=1)
    huge = recipe(**{"rollout.engines": "{min=1,max=1000000000000}"})
    assert fitted(huge, 4).engines <= 4
    assert fitted(huge, 0).engines == 2
    assert fitted(tiny_recipe(3), 3) == RunSizes(engines=2, tensor_parallel=1, ranks=1, expert_parallel=1)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("gpus", [0, 2, 8])
def test_every_shipped_recipe_gives_a_valid_config_and_says_what_was_changed(path: Path, gpus: int) -> None:
    whole = load(path)
    sizes = fitted(whole, gpus)
    paths = {name: f"/folder/{name}" for name in ("train", "eval", "reward", "run", "model")}
    config = config_of(whole, sizes, shrunk(large("qwen3_moe"), ON_CPU), gpu=gpus > 0, cpus=8, full=False, paths=paths)
    assert config.objective == whole.objective
    assert config.learner.packing == whole.learner.packing
    assert config.learner.zero_stage == whole.learner.zero_stage
    assert config.rollout.capture_routing
    lines = changes(whole, config, sizes)
    assert any(line.startswith("rollout.engines: ") for line in lines) == (whole.rollout.engines != config.rollout.engines)
    assert len(lines) == len({line.partition(":")[0] for line in lines}), "each change is named once"
    if not gpus:
        assert config.rollout.vllm == {"enforce_eager": True, **{k: v for k, v in config.rollout.vllm.items() if k != "enforce_eager"}}
        assert config.rollout.fewest_engines * config.rollout.cpus_per_engine + config.learner.ranks * config.learner.cpus_per_rank <= 8


def test_a_recipe_whose_model_is_not_here_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json, whose family a selfcheck needs \(no weights\)"):
        prepare(recipe(**{"model.path": tmp_path / "none"}), tmp_path, full=False, gpus=0)


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_the_runs_without_a_recipe_pass_the_checks_of_a_run(tmp_path: Path, gpus: int) -> None:
    prepared = prepare(None, tmp_path, full=False, gpus=gpus)
    check(prepared.config, here=False)
    assert prepared.config.placement.share == (gpus == 1)


def test_more_gpus_than_the_packages_can_use_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(scaled, "gpus_of_this_machine", lambda: 1)
    for fine in (None, 0, 1):
        refuse_absent_gpus(fine)
    with pytest.raises(InputError, match="--gpus 2: the installed packages can use 1 GPU of this machine"):
        refuse_absent_gpus(2)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    refuse_absent_gpus(2)
