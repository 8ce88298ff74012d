"""Weights against config.json, from the headers of safetensors files: what is missing, damaged, cut off or of another shape."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from cluster.commands.checks.weights import refuse_other_weights
from cluster.commands.validate import model_settings
from configs.errors import ModelError
from configs.families import FAMILIES
from tests.toys.families import write_family
from tests.toys.run import run_config

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
NORM = "model.layers.0.input_layernorm.weight"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        write_family(family, folder / family)
    return folder


def look(folder: Path) -> None:
    refuse_other_weights("model.path", str(folder), AutoConfig.from_pretrained(folder))


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError, match=r"model\.path") as refused:
        look(folder)
    assert str(refused.value).endswith("download the model again")
    return str(refused.value)


@pytest.fixture
def broken(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models / "qwen3_moe", tmp_path / "broken"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_of_every_family_are_recognised(models: Path, family: str) -> None:
    look(models / family)


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if not any(part in name for part in names)}


def with_shape(name: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("model.norm"), "it lacks model.norm.weight"),
        (without("layers.1.mlp.experts.3.up_proj"), "it lacks model.layers.1.mlp.experts.3.up_proj.weight"),
        (without("layers.1.mlp.experts"), "it lacks model.layers.1.mlp.experts.down_proj, model.layers.1.mlp.experts.gate_up_proj"),
        (without("layers.1.mlp.experts.2", "layers.1.mlp.experts.3"), "it lacks model.layers.1.mlp.experts.2.gate_proj.weight, "),
        (with_shape("model.norm.weight", 63), "shapes differ: model.norm.weight [63], needed [64]"),
        (with_shape("model.embed_tokens.weight", 30, 64), "shapes differ: model.embed_tokens.weight [30, 64], needed [32, 64]"),
        (with_shape("model.layers.1.mlp.experts.3.up_proj.weight", 3, 4), "mlp.experts.3.up_proj.weight [3, 4], needed [32, 64]"),
        (with_shape("model.layers.1.mlp.experts.4.up_proj.weight", 32, 64), "beyond the 4 experts of a layer"),
        (with_shape("model.layers.7.mlp.x", 2), "it has model.layers.7.mlp.x, for which the model has no place"),
    ],
)
def test_tensors_that_contradict_the_config_are_named(broken: Path, change: Callable[[Tensors], Tensors], said: str) -> None:
    save_file(change(load_file(broken / SINGLE)), broken / SINGLE, metadata={"format": "pt"})
    assert said in refusal(broken)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw[: len(raw) // 2], "so it is cut off"),
        (lambda raw: raw + b"more", "so it is cut off"),
        (lambda raw: raw[:5], "no whole header"),
        (lambda raw: b"", "has 0 bytes and no whole header"),
        (lambda raw: raw[:8] + b"x" + raw[9:], "has a damaged header (JSONDecodeError)"),
        (lambda raw: (2).to_bytes(8, "little") + b"[]", "has a damaged header"),
    ],
)
def test_a_damaged_file_is_named(broken: Path, change: Callable[[bytes], bytes], said: str) -> None:
    (broken / SINGLE).write_bytes(change((broken / SINGLE).read_bytes()))
    assert said in refusal(broken)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "ZZ"}, 'input_layernorm.weight is of type "ZZ", which safetensors does not know'),
        ({"shape": [-64]}, "input_layernorm.weight has the shape [-64]"),
        ({"shape": [1.5]}, "input_layernorm.weight has the shape [1.5]"),
        ({"data_offsets": [0, 0]}, "input_layernorm.weight [64] in F32 takes 256 bytes, but has 0"),
        ({"data_offsets": [0, 256]}, "begins at byte 0, but "),
        ({"data_offsets": ["a", 0]}, "has a damaged header (ValueError)"),
        ({"data_offsets": [None, 0]}, "has a damaged header (TypeError)"),
    ],
)
def test_a_header_that_contradicts_itself_is_named(broken: Path, change: dict[str, object], said: str) -> None:
    raw = (broken / SINGLE).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert header[NORM]["dtype"] == "F32"
    end = header[NORM]["data_offsets"][1]
    assert max(row["data_offsets"][1] for row in header.values() if "dtype" in row) > end, "the file's end would move too"
    header[NORM] |= change
    changed = json.dumps(header).encode()
    (broken / SINGLE).write_bytes(len(changed).to_bytes(8, "little") + changed + raw[8 + length :])
    assert said in refusal(broken)


def in_two_files(folder: Path, change: Callable[[Tensors, Tensors, dict[str, str]], None] = lambda *_: None) -> None:
    """Divide the folder's only file in two with an index, after `change` has had both halves and the index."""
    tensors = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    homes = {name: f"{place % 2}.safetensors" for place, name in enumerate(tensors)}
    halves = [{name: tensor for name, tensor in tensors.items() if homes[name] == f"{place}.safetensors"} for place in (0, 1)]
    change(halves[0], halves[1], homes)
    for place, half in enumerate(halves):
        save_file(half, folder / f"{place}.safetensors", metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"weight_map": homes}))


def test_weights_in_several_files_are_read_together(broken: Path) -> None:
    in_two_files(broken)
    look(broken)


def test_a_tensor_in_two_files_is_named_with_both(broken: Path) -> None:
    def double(first: Tensors, second: Tensors, homes: dict[str, str]) -> None:
        first[NORM] = second[NORM] = torch.ones(64)

    in_two_files(broken, double)
    assert f"has files that do not fit together: {NORM} is in 0.safetensors and in 1.safetensors" in refusal(broken)


def test_a_tensor_that_is_not_where_the_index_sees_it_is_named_with_the_file(broken: Path) -> None:
    in_two_files(broken, lambda first, second, homes: homes.update({name: "1.safetensors" for name in list(first)[:1]}))
    there = load_file(broken / "0.safetensors")
    assert f"{INDEX} sees {next(iter(there))} in 1.safetensors, which lacks it" in refusal(broken)


def test_a_shape_is_named_with_its_file(broken: Path) -> None:
    in_two_files(broken, lambda first, second, homes: (first if NORM in first else second).update({NORM: torch.ones(63)}))
    home = json.loads((broken / INDEX).read_text())["weight_map"][NORM]
    assert f"shapes differ: {NORM} [63], needed [64] (in {home})" in refusal(broken)


def test_a_file_of_several_that_is_cut_off_is_named(broken: Path) -> None:
    in_two_files(broken)
    raw = (broken / "1.safetensors").read_bytes()
    (broken / "1.safetensors").write_bytes(raw[:-4])
    assert f"{broken / '1.safetensors'} has {len(raw) - 4} bytes, but its header describes {len(raw)}" in refusal(broken)


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_a_type_that_cannot_be_trained_are_refused(broken: Path, kind: torch.dtype) -> None:
    tensors = load_file(broken / SINGLE)
    save_file(tensors | {NORM: tensors[NORM].to(kind)}, broken / SINGLE)
    with pytest.raises(ValueError, match=rf"has {NORM} in .* needed weights in F64, F32, F16, BF16: give the unquantised model"):
        look(broken)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("[" * 100_000, "a damaged header (RecursionError)"),
        ('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, Infinity]}}', "a damaged header (OverflowError)"),
        ('{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a": {}}', "it describes a twice"),
    ],
)
def test_headers_that_only_look_like_json_are_refused(broken: Path, header: str, said: str) -> None:
    (broken / SINGLE).write_bytes(len(header).to_bytes(8, "little") + header.encode())
    assert said in refusal(broken)


@pytest.mark.parametrize("name", ["config.json", INDEX, "generation_config.json"])
def test_json_that_is_nested_too_deeply_is_refused(broken: Path, tmp_path: Path, name: str) -> None:
    (broken / name).write_text("[" * 100_000)
    with pytest.raises(ModelError, match=re.escape(name)):
        model_settings(run_config(tmp_path), "model.path", str(broken))
