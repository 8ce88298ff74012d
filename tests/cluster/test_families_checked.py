"""`validate` and the model's family: unknown families, what a family cannot do, references, and how often the model is read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from cluster.commands.validate import check
from configs.families import FAMILIES, ROWS
from configs.loader import load
from tests.cluster.test_cli import CONFIG, write_rows
from tests.toys.families import write_family


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of every family."""
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        write_family(family, folder / family)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_rows(tmp_path, *({"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(6)))
    (tmp_path / "run.toml").write_text(CONFIG.format(folder=tmp_path, model="given below"))
    return tmp_path / "run.toml"


def checked(config: Path, model: Path, *overrides: str) -> Any:
    return check(load(config, [f'model.path="{model}"', *overrides]))


def refusal(config: Path, model: Path, *overrides: str) -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the callers look at every word
        checked(config, model, *overrides)
    return str(refused.value)


REPLAY = ("learner.routing=replay_rollout", "rollout.capture_routing=true")
SHIFT = "objective.router_shift=0.8"
SPREAD = ("learner.expert_parallel=2", "learner.ranks=2", "learner.deepspeed.zero_optimization.stage=2")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_valid_with_all_that_its_row_allows_and_refused_what_it_does_not(config: Path, models: Path, family: str) -> None:
    row, model = FAMILIES[family], models / family
    assert row.packed
    checked(config, model, "learner.packing=true", *(REPLAY if row.followed else ()), *(SPREAD if row.spread else ()))
    if not row.followed:
        for asked in (REPLAY, ("learner.aux_loss=0.01",), ("learner.router=frozen",), ("learner.updates_per_step=2", SHIFT)):
            lines = refusal(config, model, *asked).splitlines()
            keys = {override.split("=")[0] for override in asked} - {"learner.updates_per_step"}
            assert {line.split(":")[0] for line in lines} == keys
    if not row.spread:
        assert refusal(config, model, *SPREAD).startswith(f"learner.expert_parallel: got 2, but model.path {model} ")


def renamed(model: Path, folder: Path, family: str) -> Path:
    """A copy of a model that says it is of another family."""
    shutil.copytree(model, folder)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"model_type": family}))
    return folder


@pytest.mark.parametrize("other", ["deepseek_v3", "gpt_oss", "qwen3_next", "never_heard_of"])
def test_another_family_is_refused_by_name_with_the_list(config: Path, models: Path, other: str) -> None:
    model = renamed(models / "llama", config.parent / "other", other)
    said = refusal(config, model)
    assert said.startswith(f'model.path {model} is of model_type "{other}", needed one of the families that can be trained: ')
    assert all(f"{row.model_type} ({row.name})" in said for row in ROWS)
    said = refusal(config, models / "qwen3_moe", f'kl.reference="{model}"', "kl.coefficient=0.1")
    assert said.startswith(f'kl.reference {model} is of model_type "{other}", needed one of')


def test_a_reference_may_be_of_another_family_unless_experts_are_spread(config: Path, models: Path) -> None:
    mixtral = (f'kl.reference="{models / "mixtral"}"', "kl.coefficient=0.1")
    checked(config, models / "qwen3_moe", *mixtral)
    said = refusal(config, models / "qwen3_moe", *mixtral, *SPREAD)
    assert 'give a reference of "qwen3_moe", "qwen2_moe" whose experts it divides' in said
    checked(config, models / "qwen3_moe", f'kl.reference="{models / "qwen2_moe"}"', "kl.coefficient=0.1", *SPREAD)


def test_a_config_that_is_not_json_is_named(config: Path, models: Path) -> None:
    broken = config.parent / "broken"
    shutil.copytree(models / "llama", broken)
    (broken / "config.json").write_text("{")
    assert refusal(config, broken).startswith(f"model.path {broken} has a config.json that is not JSON")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([], "is a JSON list, no object"),
        ({"model_type": ["qwen3_moe"]}, "is of model_type \"['qwen3_moe']\", needed one of the families"),
        ({"architectures": -1}, "has a config.json with architectures = -1, needed a list of names"),
        ({"model_type": None}, 'is of model_type "None", needed one of the families'),
        ({"num_experts": "x"}, "has a config.json that transformers cannot use"),
        ({"vocab_size": None}, "has a config.json that transformers cannot use"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "has a config.json that transformers cannot use (KeyError: "),
        ({"num_experts": 10**30}, "has a config.json with a num_experts above 64 bits"),
        ({"num_hidden_layers": 10**9}, "it has tensors for 2 of 1000000000 layers"),
        ({"num_local_experts": 10**9}, "it lacks model.layers.1.mlp.experts.4.gate_proj.weight, "),
        ({"num_attention_heads": 0}, "transformers cannot build that model from them (ZeroDivisionError"),
        ({"num_experts": 0, "num_local_experts": 0}, "is a mixture of experts (Qwen3-MoE) with 0 experts"),
        ({"num_experts_per_tok": 5}, "has num_experts_per_tok = 5 in its config.json, needed a whole number from 1 to its 4 experts"),
        ({"num_experts_per_tok": 0}, "has num_experts_per_tok = 0 in its config.json"),
        ({"max_position_embeddings": 0}, "has max_position_embeddings = 0 in its config.json, needed a whole number, at least 1"),
        ({"max_position_embeddings": -1}, "has max_position_embeddings = -1 in its config.json"),
        ({"num_experts": -4, "num_local_experts": -4}, "is a mixture of experts (Qwen3-MoE) with -4 experts"),
    ],
)
def test_a_config_that_no_model_can_have_is_named(config: Path, models: Path, changes: Any, said: str) -> None:
    broken = config.parent / "broken"
    shutil.copytree(models / "qwen3_moe", broken)
    raw = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(raw | changes if changes else changes))
    found = refusal(config, broken)
    assert found.startswith(f"model.path {broken} ")
    assert said in found


def test_the_models_config_is_read_once(config: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, load_config = [], AutoConfig.from_pretrained
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda path, **how: read.append(path) or load_config(path, **how))
    checked(config, models / "qwen3_moe", "learner.packing=true", f'kl.reference="{models / "qwen2_moe"}"', "kl.coefficient=0.1")
    ours = [path for path in read if isinstance(path, Path)]  # the tokenizer's own look at it comes as a string
    assert ours == [models / "qwen3_moe", models / "qwen2_moe"]
