"""Loading tensor by tensor on one rank: the same model as transformers' own loading, from every layout on disk, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from configs.families import FAMILIES
from configs.loader import load
from configs.schema import Config
from learner.model.loading import Division, reading_once
from learner.model.policy import load_policy
from learner.model.stored import Stored
from tests.toys.families import write_family

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG = '[model]\npath = "{path}"\ndtype = "{dtype}"\n[data]\ntrain = "unused.jsonl"\n'
ALONE = Division(device=torch.device("cpu"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        write_family(family, folder / family)
    return folder


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    """A mixture of experts of which a test may change the files."""
    return Path(shutil.copytree(models / "qwen3_moe", tmp_path / "model"))


def config_of(model: Path, tmp_path: Path, dtype: str = "float32") -> Config:
    (tmp_path / "run.toml").write_text(CONFIG.format(path=model, dtype=dtype))
    return load(tmp_path / "run.toml", [])


def state(model: torch.nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters, then all buffers, in the model's order."""
    return [*model.named_parameters(), *model.named_buffers()]


def refuse_difference(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    assert [name for name, _ in state(ours)] == [name for name, _ in state(theirs)]
    for (name, here), (_, there) in zip(state(ours), state(theirs), strict=True):
        assert here.dtype == there.dtype, name
        assert torch.equal(here, there), name
    tied = [model.get_output_embeddings().weight is model.get_input_embeddings().weight for model in cast(Any, (ours, theirs))]
    assert tied[0] == tied[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_as_transformers_alone_loads_it(models: Path, tmp_path: Path, family: str) -> None:
    """In bfloat16, which the files are not in, and without drawing a random number."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    policy = load_policy(config_of(models / family, tmp_path, "bfloat16"))
    assert torch.equal(torch.get_rng_state(), before)
    refuse_difference(policy.language_model, AutoModelForCausalLM.from_pretrained(models / family, dtype=torch.bfloat16))


def fused(folder: Path) -> None:
    """Experts in one tensor a layer, under the names that the model itself has."""
    whole = AutoModelForCausalLM.from_pretrained(folder)
    save_file({name: tensor.clone() for name, tensor in whole.state_dict().items()}, folder / FILE, metadata={"format": "pt"})


def in_two(folder: Path) -> None:
    """Tensors of one layer in several files."""
    tensors = load_file(folder / FILE)
    (folder / FILE).unlink()
    homes = {name: f"{place % 2}.safetensors" for place, name in enumerate(tensors)}
    for home in set(homes.values()):
        save_file({name: tensor for name, tensor in tensors.items() if homes[name] == home}, folder / home, metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": homes}))


@pytest.mark.parametrize("change", [fused, in_two])
def test_every_layout_on_disk_loads_alike(models: Path, model: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    change(model)
    refuse_difference(load_policy(config_of(model, tmp_path)).language_model, AutoModelForCausalLM.from_pretrained(models / "qwen3_moe"))


def test_every_tensor_is_read_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, theirs = [], Stored.read

    def read(stored: Stored, name: str) -> Tensor:
        names.append(name)
        return theirs(stored, name)

    monkeypatch.setattr(Stored, "read", read)
    load_policy(config_of(model, tmp_path))
    assert sorted(names) == sorted(load_file(model / FILE))


def test_a_rank_keeps_its_share_of_the_experts_and_all_else(model: Path) -> None:
    whole = dict(AutoModelForCausalLM.from_pretrained(model).named_parameters())
    for share in (0, 1):
        with reading_once(Division(device=torch.device("cpu"), share=share, shares=2)):
            part = dict(AutoModelForCausalLM.from_pretrained(model).named_parameters())
        for name, parameter in whole.items():
            kept = slice(2 * share, 2 * share + 2) if ".experts." in name else slice(None)
            assert torch.equal(part[name][kept], parameter[kept]), name


def test_pickles_are_left_to_transformers(model: Path) -> None:
    tensors = load_file(model / FILE)
    (model / FILE).unlink()
    torch.save(tensors, model / "pytorch_model.bin")
    with reading_once(ALONE):
        loaded = AutoModelForCausalLM.from_pretrained(model)
    assert torch.equal(loaded.lm_head.weight, tensors["lm_head.weight"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("model.norm.weight", None, r"'missing_keys': \['model.norm.weight'\]"),
        ("model.layers.1.mlp.experts.3.up_proj.weight", None, "model.layers.1.mlp.experts.gate_up_proj, made of 7 .*fit together"),
        ("model.extra", torch.ones(2), r"'unexpected_keys': \['model.extra'\]"),
        ("model.norm.weight", torch.ones(63), r"model.norm.weight has the shape \(63,\), needed \(64,\)"),
        ("model.norm.weight", torch.full((64,), torch.nan), "model.norm.weight has numbers that are not finite"),
        ("model.layers.1.mlp.experts.3.up_proj.weight", torch.full((32, 64), torch.inf), "gate_up_proj has numbers that are not finite"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(model: Path, tmp_path: Path, name: str, value: Tensor | None, said: str) -> None:
    tensors = load_file(model / FILE) | {name: value}
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, model / FILE, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=said):
        load_policy(config_of(model, tmp_path))


def test_a_tensor_in_two_files_is_refused(model: Path, tmp_path: Path) -> None:
    in_two(model)
    twice = load_file(model / "0.safetensors") | {"model.norm.weight": torch.ones(64)}
    save_file(twice, model / "0.safetensors", metadata={"format": "pt"})
    save_file(
        load_file(model / "1.safetensors") | {"model.norm.weight": torch.ones(64)}, model / "1.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(ValueError, match=r"model.norm.weight is in two files, .*0.safetensors and .*1.safetensors"):
        load_policy(config_of(model, tmp_path))


def test_a_leftover_that_transformers_ignores_changes_nothing(models: Path, tmp_path: Path) -> None:
    """Old checkpoints hold the frequencies of the rotary embedding."""
    model = Path(shutil.copytree(models / "llama", tmp_path / "old"))
    more = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)}
    save_file(load_file(model / FILE) | more, model / FILE, metadata={"format": "pt"})
    refuse_difference(load_policy(config_of(model, tmp_path)).language_model, AutoModelForCausalLM.from_pretrained(models / "llama"))


def test_large_finite_weights_are_taken(model: Path, tmp_path: Path) -> None:
    """Their sum is infinite."""
    large = torch.full((64,), 3e38)
    save_file(load_file(model / FILE) | {"model.norm.weight": large}, model / FILE, metadata={"format": "pt"})
    assert torch.equal(load_policy(config_of(model, tmp_path)).language_model.model.norm.weight, large)
