"""What a model folder says about itself: family, size, context, chat template."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.commands.validate import load_tokenizer, model_settings
from configs.families import Family, family_of, number_of_experts
from configs.schema import Config

HEADER_BYTES = 8  # a safetensors file begins with the length of its header
NO_LIMIT = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The facts of a model that the sizes of a run follow from."""

    path: str
    family: Family
    parameters: int
    experts: int  # of a layer; 0 for a dense model
    heads: int
    layers: int
    vocabulary: int
    context: int  # longest prompt with its response
    tokenizer: Any

    @property
    def chat(self) -> bool:
        """Whether the model has a chat template."""
        return bool(self.tokenizer.chat_template)


def read_model(path: str) -> Model:
    """Read a model folder; ValueError where it cannot be trained."""
    config = Config.model_validate({"model": {"path": path}, "data": {"train": ""}})
    settings = model_settings(config, "model.path", path)
    return Model(
        path=path,
        family=family_of(settings.model_type),
        parameters=sum(map(math.prod, shapes(Path(path)))),
        experts=number_of_experts(settings.to_dict()),
        heads=int(settings.num_attention_heads),
        layers=int(settings.num_hidden_layers),
        vocabulary=int(settings.vocab_size),
        context=int(getattr(settings, "max_position_embeddings", None) or NO_LIMIT),
        tokenizer=load_tokenizer(config),
    )


def shapes(folder: Path) -> Iterator[list[int]]:
    """The shape of every tensor of a folder's safetensors files, read from their headers alone."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(HEADER_BYTES), "little")))
        yield from (tensor["shape"] for name, tensor in header.items() if name != "__metadata__")
