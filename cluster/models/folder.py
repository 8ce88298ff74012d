"""What a model is by the names of its files and its config.json: weights that can be trained from, or what to do about them."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
SHARD = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")
SHOWN = 4  # names in a message
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json", "tokenizer_config.json")
POINTER = b"version https://git-lfs"
CONVERT = (
    'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
    "M.from_pretrained('{path}', dtype='auto').save_pretrained('{to}'); T.from_pretrained('{path}').save_pretrained('{to}')\""
)
# Files with weights of another kind: how they are named, what they are, and what to do.
OTHERS: tuple[tuple[str, str, str], ...] = (
    (
        r"adapter_(config\.json|model\..*)",
        "a LoRA adapter and no whole model",
        "merge it into its base model first: peft's PeftModel.from_pretrained(base, folder).merge_and_unload().save_pretrained(to), "
        "with the base model's tokenizer beside it",
    ),
    (
        r"consolidated.*\.pth|params\.json",
        "a checkpoint in Meta's own format",
        "give the Hugging Face form of the model, whose folder has config.json and *.safetensors",
    ),
    (
        r".*\.gguf",
        "GGUF, a format for llama.cpp whose weights are usually quantised",
        "give the model's original Hugging Face folder with *.safetensors",
    ),
    (r"rank-\d+\.json", "a checkpoint of a run", "export it first: python -m cluster export CONFIG --to DIR --checkpoint FOLDER"),
    (
        r".*\.(pt|pth|ckpt|tar)|zero_to_fp32\.py",
        "a training checkpoint of another program",
        "save it there as a Hugging Face folder: save_pretrained(…) writes config.json and *.safetensors",
    ),
    (r".*\.(msgpack|h5|onnx)", "weights for another library than torch", "give a folder with *.safetensors"),
)


def model_folder(key: str, path: str) -> Path:
    """The folder of a model whose weights are whole; ValueError says what is there instead and what to do."""
    folder = described_folder(key, path)
    names = files_of(folder)
    refuse_weights(key, path, names)
    refuse_shards(key, path, shards_of_index(folder), names)
    for name in names:
        if name.endswith(".safetensors") and is_pointer(folder / name):
            raise ValueError(f"{key} {path} has no weights: {name} is a git-lfs pointer to them: run `git lfs pull` in that folder")
    return folder


def described_folder(key: str, path: str) -> Path:
    """The folder of a model that has a config.json, with or without weights; ValueError says what is there instead."""
    folder = Path(path)
    if folder.is_file():
        what = other_weights([folder.name])
        hint = f"; its folder {folder.parent} may be the model" if (folder.parent / "config.json").is_file() else ""
        raise ValueError(f"{key} {path} is a file{f' ({what[0]}): {what[1]}' if what else ', needed a model folder'}{hint}")
    names = files_of(folder)
    if "config.json" not in names:
        raise ValueError(f"{key} {path} is not a model folder: it has no config.json. {what_instead(folder, names)}")
    return folder


def files_of(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []


def what_instead(folder: Path, names: Collection[str]) -> str:
    """What a folder without config.json is, and what to give."""
    if not folder.is_dir():
        return "There is no such folder. Give the path of a downloaded Hugging Face model or a hub id (for the shipped tiny one: make tiny)"
    below = sorted({found.parent for depth in ("*", "*/*", "*/*/*") for found in folder.glob(f"{depth}/config.json")})
    if below:
        return f"Give the folder below it that has one: {listed(map(str, below))}"
    if (folder.parent / "config.json").is_file():
        return f"Give the folder above it, which has one: {folder.parent}"
    if what := other_weights(names):
        return f"It has {what[0]}: {what[1]}"
    return "Give the path of a downloaded Hugging Face model or a hub id (for the shipped tiny one: make tiny)"


def other_weights(names: Iterable[str]) -> tuple[str, str] | None:
    """What files are that are no safetensors of a model, and what to do with them."""
    names = tuple(names)
    return next(((what, todo) for pattern, what, todo in OTHERS if any(re.fullmatch(pattern, name) for name in names)), None)


def refuse_weights(key: str, path: str, names: Collection[str]) -> None:
    """Raise ValueError where no file of these is one of a model's safetensors."""
    if INDEX in names or WHOLE in names or any(SHARD.fullmatch(name) for name in names):
        return
    if any(re.fullmatch(r"pytorch_model.*\.bin", name) for name in names):
        command = CONVERT.format(path=path, to=f"{path.rstrip('/')}-safetensors")
        raise ValueError(
            f"{key} {path} has its weights as pytorch_model*.bin, pickles, which can run code when loaded, so they are not read here. "
            f"If you trust the file, convert it where it may do no harm, then give the new folder: {command}"
        )
    if what := other_weights(names):
        raise ValueError(f"{key} {path} has {what[0]}, needed *.safetensors: {what[1]}")
    odd = [name for name in names if name.endswith(".safetensors")]
    raise ValueError(
        f"{key} {path} has a config.json but no *.safetensors weights under the names that transformers reads ({WHOLE}, or {INDEX} and its "
        f"shards){f'; it has {listed(odd)}' if odd else ''}: download the model completely"
    )


def refuse_shards(key: str, path: str, needed: Collection[str], names: Collection[str]) -> None:
    """Raise ValueError where shards are missing, by their index or by the numbers in their names, or the index itself."""
    numbered = [found for name in names if (found := SHARD.fullmatch(name))]
    if not needed and WHOLE not in names and numbered:
        width, total = len(numbered[0][1]), numbered[0][2]
        needed = [f"model-{place:0{width}}-of-{total}.safetensors" for place in range(1, int(total) + 1)] + [INDEX]
    if lacking := sorted(set(needed) - set(names)):
        raise ValueError(
            f"{key} {path} lacks {len(lacking)} of its {len(set(needed))} weight files: {listed(lacking)}: download the model completely"
        )


def shards_of_index(folder: Path) -> set[str]:
    """The files that the index names; empty without an index."""
    return set(homes_by_index(folder).values())


def homes_by_index(folder: Path) -> dict[str, str]:
    """The file of each tensor, as the index says; empty without an index, ValueError if it is none."""
    if not (folder / INDEX).is_file():
        return {}
    try:
        homes = dict(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"])
        if not all(isinstance(home, str) for home in homes.values()):
            raise TypeError("weight_map has a value that is no file's name")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / INDEX} is no index of weights ({type(error).__name__}: {error}): download it again") from error
    return homes


def refuse_generation_config(key: str, folder: Path) -> None:
    """Raise ValueError where generation_config.json, which engines read at their start, is no JSON object."""
    file = folder / "generation_config.json"
    if not file.is_file():
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{key}: {file} is not JSON ({error}): download it again, or delete it") from error
    if not isinstance(found, dict):
        raise ValueError(f"{key}: {file} is a JSON {type(found).__name__}, no object: download it again, or delete it")


def is_pointer(file: Path) -> bool:
    """Whether a file is what git leaves of a large file without git-lfs."""
    with file.open("rb") as opened:
        return opened.read(len(POINTER)) == POINTER


def refuse_kind(key: str, path: str, raw: Mapping[str, Any]) -> None:
    """Raise ValueError where config.json describes no language model that can be trained: quantised, or of another kind."""
    if quantised := raw.get("quantization_config") or raw.get("compression_config"):
        method = quantised.get("quant_method", "unnamed") if isinstance(quantised, dict) else quantised
        raise ValueError(
            f"{key} {path} is quantised ({method}, by quantization_config in its config.json), and quantised weights cannot be trained: "
            "give the unquantised model in bfloat16, which most models also come as; rollout.vllm.quantization may quantise the engines"
        )
    classes = raw.get("architectures") or []
    if not isinstance(classes, list):
        raise ValueError(
            f"{key} {path} has a config.json with architectures = {classes!r}, needed a list of names: download the model again"
        )
    architectures = [str(name) for name in classes]
    if raw.get("is_encoder_decoder"):
        raise ValueError(f"{key} {path} is an encoder-decoder ({listed(architectures)}), needed a decoder: give a causal language model")
    if sees := [part for part in ("vision_config", "audio_config", "vision_tower") if raw.get(part)]:
        raise ValueError(
            f"{key} {path} is a multimodal model ({listed(architectures) or raw.get('model_type')} with {sees[0]}), and only "
            "text models can be trained: give the text model of its family"
        )
    if architectures and not any(name.endswith("ForCausalLM") for name in architectures):
        raise ValueError(
            f"{key} {path} is a {listed(architectures)}, needed a causal language model (…ForCausalLM): "
            "classifiers, reward models and embedding models have no head over the vocabulary, so give a generating model"
        )


def refuse_no_tokenizer(path: str) -> None:
    """Raise ValueError where a folder has none of the files that a tokenizer is made of."""
    if not any((Path(path) / name).is_file() for name in TOKENIZERS):
        raise ValueError(
            f"model.path {path} holds no tokenizer that can be loaded: it has no tokenizer.json. Copy tokenizer.json and "
            "tokenizer_config.json (or tokenizer.model, or vocab.json with merges.txt) from the model that it was made from"
        )


def listed(names: Iterable[str]) -> str:
    """The first few names in words."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
