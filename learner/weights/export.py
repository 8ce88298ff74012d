"""The policy as a Hugging Face folder: streamed layer by layer, so no rank ever holds the model whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer

from configs.families import Family
from configs.schema import Config
from learner.weights.source import ZeroWeightSource

SHARD_BYTES = 4 << 30


def export(source: ZeroWeightSource, config: Config, folder: Path, *, writes: bool) -> None:
    """Write weights, config and tokenizer to `folder`; every rank must call it, the one that `writes` does.

    Experts are split into the per-expert names of published checkpoints, which both transformers and vLLM read. An OSError, such as that
    of a full disk, is raised only after the other ranks have given all their parts, so that none of them waits forever.
    """
    if not writes:
        source.stand_by()
        return
    aside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    shards, failed = Shards(aside), None
    for name, tensor in source:
        try:
            for published, part in published_names(name, tensor, source.family) if failed is None else ():
                shards.add(published, part)
        except (OSError, SafetensorError) as error:
            failed = error
    if failed is not None:
        shutil.rmtree(aside, ignore_errors=True)
        raise failed
    shards.close()
    trust = config.model.trust_remote_code
    AutoConfig.from_pretrained(config.model.path, trust_remote_code=trust, dtype=config.model.dtype).save_pretrained(aside)
    for path in aside.glob("*.safetensors"):  # the library lets the owner alone read them
        path.chmod((aside / "config.json").stat().st_mode)
    trained_tokenizer(config).save_pretrained(aside)
    generation = Path(config.model.path) / "generation_config.json"
    if generation.exists():
        shutil.copy(generation, aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def trained_tokenizer(config: Config) -> Any:
    """The model's tokenizer with the chat template that the policy was trained with."""
    tokenizer = AutoTokenizer.from_pretrained(config.model.path, trust_remote_code=config.model.trust_remote_code)
    if config.data.template_file:
        tokenizer.chat_template = config.template_copy.read_text(encoding="utf-8")
    return tokenizer


def published_names(name: str, tensor: torch.Tensor, family: Family) -> list[tuple[str, torch.Tensor]]:
    """One fused expert tensor as the per-expert tensors of the family's checkpoints; any other tensor as it is."""
    stem, _, leaf = name.rpartition(".")
    if not stem.endswith(".experts") or tensor.dim() != 3:  # noqa: PLR2004 - fused experts are [experts, out, in]
        return [(name, tensor)]
    names = family.names
    leaves = (names.gate, names.up) if leaf == names.gate_up else (leaf,)
    return [
        (f"{stem}.{i}.{own}.weight", part.contiguous())
        for i, expert in enumerate(tensor)
        for own, part in zip(leaves, expert.chunk(len(leaves)), strict=True)
    ]


class Shards:
    """Safetensors files of bounded size with the index that ties them together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, torch.Tensor] = {}
        self.bytes = self.total = self.count = 0
        self.index: dict[str, str] = {}

    def add(self, name: str, tensor: torch.Tensor) -> None:
        if self.held and self.bytes + tensor.nbytes > SHARD_BYTES:
            self._flush()
        self.held[name] = tensor.cpu()
        self.bytes += tensor.nbytes
        self.total += tensor.nbytes

    def close(self) -> None:
        self._flush()
        index = {"metadata": {"total_size": self.total}, "weight_map": self.index}
        (self.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))

    def _flush(self) -> None:
        file = f"model-{self.count:05d}.safetensors"
        save_file(self.held, self.folder / file, metadata={"format": "pt"})
        self.index.update(dict.fromkeys(self.held, file))
        self.held, self.bytes, self.count = {}, 0, self.count + 1
