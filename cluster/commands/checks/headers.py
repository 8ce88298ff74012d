"""Headers of a model's safetensors files: which tensors there are, without reading one of them.

A file is 8 bytes with the header's length, the header as JSON, then the tensors (https://huggingface.co/docs/safetensors).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cluster.models.folder import WHOLE, shards_of_index

LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000  # the format's own limit
AGAIN = "download the model again"


@dataclass(frozen=True, slots=True)
class Header:
    """One tensor as its file describes it."""

    dtype: str  # of safetensors: "BF16", "F32", ...
    shape: tuple[int, ...]


def read_headers(key: str, folder: Path) -> dict[str, Header]:
    """Every tensor of a model folder by its name; ValueError for damaged and truncated files. `key` names the folder in messages."""
    tensors: dict[str, Header] = {}
    for path in weight_files(folder):
        tensors |= read_header(key, path)
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers would load: `model.safetensors`, else those that the index names. `model_folder` refuses absent ones."""
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    return [folder / name for name in sorted(shards_of_index(folder))]


def read_header(key: str, path: Path) -> dict[str, Header]:
    """The tensors of one file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > min(LONGEST_HEADER, size - LENGTH_BYTES):
            raise ValueError(f"{key}: {path} has {size} bytes and no whole header, so it is cut off or no safetensors file: {AGAIN}")
        raw = file.read(length)
    try:
        header: dict[str, Any] = json.loads(raw)
        tensors = {name: Header(row["dtype"], tuple(row["shape"])) for name, row in header.items() if name != "__metadata__"}
        end = max((row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{key}: {path} has a damaged header ({type(error).__name__}): {AGAIN}") from error
    if size != (needed := LENGTH_BYTES + length + end):
        raise ValueError(f"{key}: {path} has {size} bytes, but its header describes {needed}, so it is cut off: {AGAIN}")
    return tensors


def some(names: Iterable[str], count: int, shown: int = 3) -> str:
    """The first of `count` names, and how many follow."""
    first = list(islice(names, shown))
    return ", ".join(first) + (f" and {count - len(first)} more" if count > len(first) else "")
