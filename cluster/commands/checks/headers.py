"""Headers of a model's safetensors files: which tensors there are, without reading one of them.

A file is 8 bytes with the header's length, the header as JSON, then the tensors (https://huggingface.co/docs/safetensors).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000  # the format's own limit
POINTER = b"version https://git-lfs"
AGAIN = "download the model again"


@dataclass(frozen=True, slots=True)
class Header:
    """One tensor as its file describes it."""

    dtype: str  # of safetensors: "BF16", "F32", ...
    shape: tuple[int, ...]


def read_headers(key: str, folder: Path) -> dict[str, Header]:
    """Every tensor of a model folder by its name; ValueError for absent, damaged and truncated files. `key` names the folder."""
    tensors: dict[str, Header] = {}
    for path in weight_files(key, folder):
        tensors |= read_header(key, path)
    return tensors


def weight_files(key: str, folder: Path) -> list[Path]:
    """The files that transformers would load: `model.safetensors`, else those that the index names."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        found = ", ".join(sorted(path.name for path in folder.glob("*.safetensors"))[:3])
        raise ValueError(f"{key} {folder} has {found}, but neither {SINGLE} nor {INDEX}, which names the files: {AGAIN}")
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{key} {folder} has an {INDEX} that cannot be read ({type(error).__name__}: {error}): {AGAIN}") from error
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ValueError(f"{key} {folder} lacks {some(absent, len(absent))}, which its {INDEX} names ({len(names)} files in all): {AGAIN}")
    return [folder / name for name in names]


def read_header(key: str, path: Path) -> dict[str, Header]:
    """The tensors of one file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if start + file.read(len(POINTER) - LENGTH_BYTES) == POINTER:
            raise ValueError(f"{key}: {path} is a Git LFS pointer without the weights: run `git lfs pull` in its folder")
        file.seek(LENGTH_BYTES)
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
