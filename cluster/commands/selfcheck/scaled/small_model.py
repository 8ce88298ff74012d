"""Writes the small random-weight model of a selfcheck: the recipe's family made small, or the tiny one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import snapshot_download

from cluster.commands.selfcheck.scaled.shrink import Room, shrunk
from cluster.models.folder import TOKENIZERS
from cluster.models.hub import refusal, token
from configs.errors import ModelError
from configs.families import family_of
from configs.home import expanded
from configs.hub import hub_model

SEED = 0
SMALL_FILES = ("*.json", "*.model", "*.txt", "*.jinja")  # of a model on the hub: all but its weights
SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id")
ACCELERATOR = "DS_ACCELERATOR"


def description(path: str) -> Path:
    """The folder with the config.json of a recipe's model, and its tokenizer if it has one; no weights are needed or downloaded.

    ModelError where there is none.
    """
    if (model := hub_model(path)) is not None:
        try:
            return Path(snapshot_download(model.name, revision=model.revision, allow_patterns=list(SMALL_FILES), token=token()))
        except (HTTPError, OSError) as error:
            raise ModelError(refusal("model.path", model, error)) from error
    folder = expanded(path)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"model.path {path} has no config.json, whose family a selfcheck needs (no weights): give another folder or a hub id with "
            "model.path=MODEL, or run selfcheck without a config, on the tiny model"
        )
    return folder


def read_description(path: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a recipe's model and its config.json; ModelError where it is of no family that can be trained."""
    folder = description(path)
    try:
        model: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        family_of(model.get("model_type"), f"model.path {path}")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"model.path {path}: its config.json cannot be used: {error}") from error
    return folder, model


def write_small_model(source: Path, model: dict[str, Any], room: Room, dtype: str, to: Path) -> str:
    """Write a random small model of the family of `model`, with the tokenizer of `source` if it has one; returns whose tokenizer it is."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from learner.tiny.tokenizer import make_tokenizer

    own = any((source / name).is_file() for name in TOKENIZERS)
    tokenizer: Any = AutoTokenizer.from_pretrained(source) if own else make_tokenizer()
    small = shrunk(model, room) | {"dtype": dtype}
    small.pop("torch_dtype", None)
    if not own:
        small |= {"vocab_size": len(tokenizer), **{name: getattr(tokenizer, name) for name in SPECIAL}}
    with torch.random.fork_rng(devices=[]), on_cpu():
        torch.manual_seed(SEED)
        to.mkdir(parents=True)
        (to / "config.json").write_text(json.dumps(small))
        whole: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(to), dtype=getattr(torch, dtype))
        for name, buffer in whole.named_buffers():
            if name.endswith(family_of(model["model_type"]).buffers):
                buffer.copy_(torch.randn_like(buffer) * 0.01)  # one that is zero everywhere would not show that it travels
        whole.save_pretrained(to)
    tokenizer.save_pretrained(to)
    return "the recipe's own tokenizer" if own else "the tiny tokenizer, as the recipe's model has none here"


def write_tiny_model(dtype: str, to: Path) -> None:
    """Write the model of `make tiny`, random instead of warmed up."""
    import torch

    from learner.tiny.model import build_model, tiny_config
    from learner.tiny.tokenizer import make_tokenizer

    tokenizer = make_tokenizer()
    with torch.random.fork_rng(devices=[]), on_cpu():
        torch.manual_seed(SEED)
        build_model(tiny_config(tokenizer)).to(getattr(torch, dtype)).save_pretrained(to)
    tokenizer.save_pretrained(to)


@contextmanager
def on_cpu() -> Iterator[None]:
    """Let DeepSpeed, which transformers imports as it saves, look for no accelerator in this process; ranks must not inherit that."""
    before = os.environ.get(ACCELERATOR)
    os.environ[ACCELERATOR] = "cpu"
    try:
        yield
    finally:
        os.environ.pop(ACCELERATOR)
        if before is not None:
            os.environ[ACCELERATOR] = before
