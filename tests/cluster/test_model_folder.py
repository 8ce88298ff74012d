"""What people give as a model: each folder that is none says what it is and what to do."""

import json
import re
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import Qwen3MoeForCausalLM

from cluster.models.folder import CONVERT, INDEX, model_folder, refuse_generation_config, refuse_kind, refuse_no_tokenizer
from tests.toys.model import tiny_config, toy_tokenizer

LORA = ("adapter_config.json", "adapter_model.safetensors")
SHARDS = tuple(f"model-0000{n}-of-00004.safetensors" for n in (1, 2, 3, 4))


def folder_of(path: Path, *names: str) -> Path:
    """A folder of files with these names; their content is never read."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    path.mkdir(exist_ok=True)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(f"model.path {path}")) as caught:
        model_folder("model.path", str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("config.json", "pytorch_model.bin"), "pickles, which can run code when loaded, so they are not read here. If you trust"),
        (("config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"), "M.from_pretrained('"),
        (("model-q4_k_m.gguf",), "It has GGUF, a format for llama.cpp"),
        (("config.json", "model.gguf"), "has GGUF, a format for llama.cpp whose weights are usually quantised, needed *.safetensors"),
        (("weights.pt",), "a training checkpoint of another program"),
        (("config.json", "model.ckpt"), "a training checkpoint of another program, needed *.safetensors: save it there as"),
        (("consolidated.00.pth", "params.json", "tokenizer.model"), "a checkpoint in Meta's own format: give the Hugging Face form"),
        (LORA, "a LoRA adapter and no whole model: merge it into its base model first"),
        (("config.json", *LORA), "a LoRA adapter and no whole model, needed *.safetensors: merge it"),
        (("rank-0.json", "zero/zero_to_fp32.py"), "a checkpoint of a run: export it first"),
        (("config.json",), "has a config.json but no *.safetensors weights"),
        (("config.json", "consolidated.safetensors"), "it has consolidated.safetensors: download the model completely"),
        (("config.json", "tf_model.h5"), "weights for another library than torch"),
        (("config.json", *SHARDS[:2]), "lacks 3 of its 5 weight files: model-00003-of-00004.safetensors, model-00004-of-"),
        (("config.json", *SHARDS), f"lacks 1 of its 5 weight files: {INDEX}: download"),
        (("inner/config.json", "inner/model.safetensors"), "Give the folder below it that has one: {path}/inner"),
        (("snapshots/0a/config.json",), "Give the folder below it that has one: {path}/snapshots/0a"),
        ((), "it has no config.json. Give the path of a downloaded Hugging Face model or a hub id"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_model_says_what_it_is_and_what_to_do(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    folder = folder_of(tmp_path / "given", *names)
    assert said.replace("{path}", str(folder)) in refused(folder)


def test_a_folder_within_a_model_a_file_and_nothing_are_told_apart(tmp_path: Path) -> None:
    folder_of(tmp_path / "model", "config.json", "model.safetensors", "original/params.json")
    assert f"Give the folder above it, which has one: {tmp_path / 'model'}" in refused(tmp_path / "model" / "original")
    assert f"is a file, needed a model folder; its folder {tmp_path / 'model'} may be the model" in refused(
        tmp_path / "model" / "model.safetensors"
    )
    assert "There is no such folder" in refused(tmp_path / "nowhere")
    gguf = folder_of(tmp_path / "quantised", "model.gguf") / "model.gguf"
    assert "is a file (GGUF, a format for llama.cpp" in refused(gguf)


def test_shards_that_the_index_names_and_the_folder_lacks_are_listed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "config.json", *SHARDS[:3])
    (folder / INDEX).write_text(json.dumps({"weight_map": {f"layer.{n}": name for n, name in enumerate(SHARDS)}}))
    assert f"lacks 1 of its 4 weight files: {SHARDS[3]}: download the model completely" in refused(folder)
    (folder / SHARDS[3]).symlink_to(folder / "blob-that-was-deleted")
    assert SHARDS[3] in refused(folder)
    (folder / INDEX).write_text("[]")
    with pytest.raises(ValueError, match="is no index of weights"):
        model_folder("model.path", str(folder))


def test_a_pointer_of_git_lfs_is_no_weight(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "config.json")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "model.safetensors is a git-lfs pointer to them: run `git lfs pull`" in refused(folder)
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    assert model_folder("model.path", str(folder)) == folder


def test_the_command_that_converts_pickles_makes_a_model_folder(tmp_path: Path) -> None:
    given = tmp_path / "given"
    torch.manual_seed(0)
    model = Qwen3MoeForCausalLM(tiny_config())
    model.config.save_pretrained(given)
    torch.save(model.state_dict(), given / "pytorch_model.bin")
    toy_tokenizer().save_pretrained(given)
    command = CONVERT.format(path=given, to=f"{given}-safetensors")
    assert refused(given).endswith(command)
    python, flag, program = shlex.split(command)
    assert (python, flag) == ("python", "-c")
    exec(program, {})
    made = Path(f"{given}-safetensors")
    assert model_folder("model.path", str(made)) == made
    refuse_no_tokenizer(str(made))
    loaded = Qwen3MoeForCausalLM.from_pretrained(made).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in model.state_dict().items())


DECODER = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (DECODER | {"quantization_config": {"quant_method": "fp8"}}, "is quantised (fp8, by quantization_config"),
        (DECODER | {"quantization_config": {"quant_method": "awq"}}, "quantised weights cannot be trained: give the unquantised model"),
        (DECODER | {"quantization_config": {"quant_method": "gptq"}}, "is quantised (gptq"),
        (DECODER | {"quantization_config": "mxfp4"}, "is quantised (mxfp4"),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "is an encoder-decoder (T5For"),
        ({"architectures": ["Qwen3VLForConditionalGeneration"], "vision_config": {"depth": 1}}, "is a multimodal model (Qwen3VL"),
        ({"architectures": ["BertForMaskedLM"]}, "is a BertForMaskedLM, needed a causal language model"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "classifiers, reward models and embedding models have no head"),
        ({"architectures": ["Qwen3Model"]}, "is a Qwen3Model"),
    ],
)  # fmt: skip
def test_a_config_of_another_kind_of_model_says_so(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"^model\.path m ") as caught:
        refuse_kind("model.path", "m", raw)
    assert said in str(caught.value)


@pytest.mark.parametrize("raw", [DECODER, {"model_type": "qwen3"}, DECODER | {"quantization_config": None, "architectures": None}])
def test_a_causal_language_model_is_none_of_these(raw: dict[str, Any]) -> None:
    refuse_kind("model.path", "m", raw)


def test_a_folder_without_a_tokenizer_says_which_files_to_copy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no tokenizer that can be loaded: it has no tokenizer\.json\. Copy tokenizer\.json"):
        refuse_no_tokenizer(str(folder_of(tmp_path, "config.json")))
    refuse_no_tokenizer(str(folder_of(tmp_path, "tokenizer.model")))


@pytest.mark.parametrize(("text", "said"), [("[]", "is a JSON list, no object"), ("null", "no object"), ("{", "is not JSON"), ("{}", None)])
def test_a_generation_config_is_an_object(tmp_path: Path, text: str, said: str | None) -> None:
    refuse_generation_config("model.path", tmp_path)  # most models have one, none needs it
    (tmp_path / "generation_config.json").write_text(text)
    with nullcontext() if said is None else pytest.raises(ValueError, match=said):
        refuse_generation_config("model.path", tmp_path)
