"""Headers of a model's safetensors files: which tensors there are, without reading one of them.

A file is 8 bytes with the header's length, the header as JSON, then the tensors (https://huggingface.co/docs/safetensors).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

from cluster.models.folder import INDEX, WHOLE, homes_by_index, shards_of_index

LENGTH_BYTES = 8
# Bits of one number of each type of the format.
BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64,
}  # fmt: skip
LONGEST_HEADER = 100_000_000  # the format's own limit
AGAIN = "download the model again"


class DoubledName(Exception):
    """A name that one header has twice."""


@dataclass(frozen=True, slots=True)
class Header:
    """One tensor as its file describes it."""

    dtype: str  # of safetensors: "BF16", "F32", ...
    shape: tuple[int, ...]
    file: str


def read_headers(key: str, folder: Path) -> dict[str, Header]:
    """Every tensor of a model folder by its name. `key` names the folder in messages.

    ValueError for files that are damaged or cut off, for a tensor in two of them, and for one that the index sees in a file without it.
    """
    files = {path.name: read_header(key, path) for path in weight_files(folder)}
    faults = [*doubled(files), *misfiled(folder, files)]
    if faults:
        raise ValueError(f"{key} {folder} has files that do not fit together: {some(faults, len(faults))}: {AGAIN}")
    return {name: header for tensors in files.values() for name, header in tensors.items()}


def doubled(files: Mapping[str, Mapping[str, Header]]) -> Iterator[str]:
    """Tensors that two files hold: which of them is loaded would be chance."""
    home: dict[str, str] = {}
    for file, tensors in files.items():
        yield from (f"{name} is in {home[name]} and in {file}" for name in tensors if name in home)
        home |= dict.fromkeys(tensors, file)


def misfiled(folder: Path, files: Mapping[str, Mapping[str, Header]]) -> Iterator[str]:
    """Tensors that the index sees in a file that lacks them."""
    if len(files) == 1 and WHOLE in files:  # transformers then reads no index
        return
    for name, file in homes_by_index(folder).items():
        if name not in files[file]:
            yield f"{INDEX} sees {name} in {file}, which lacks it"


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
        header: dict[str, Any] = json.loads(raw, object_pairs_hook=without_doubles)
        tensors = {name: Header(row["dtype"], tuple(row["shape"]), path.name) for name, row in header.items() if name != "__metadata__"}
        ranges = {name: (int(row["data_offsets"][0]), int(row["data_offsets"][1])) for name, row in header.items() if name in tensors}
        faults = list(misplaced(tensors, ranges))
        end = max((end for _, end in ranges.values()), default=0)
    except DoubledName as error:
        raise ValueError(f"{key}: {path} has a damaged header: it describes {error} twice: {AGAIN}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{key}: {path} has a damaged header ({type(error).__name__}): {AGAIN}") from error
    if size != (needed := LENGTH_BYTES + length + end):
        raise ValueError(f"{key}: {path} has {size} bytes, but its header describes {needed}, so it is cut off: {AGAIN}")
    if faults:
        raise ValueError(f"{key}: {path} has a damaged header: {faults[0]}: {AGAIN}")
    return tensors


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a table; DoubledName where a name is in it twice, of which JSON would keep the last."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise DoubledName(next(name for name in names if names.count(name) > 1))
    return table


def misplaced(tensors: Mapping[str, Header], ranges: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """Tensors of an unknown type, or whose bytes are not as many as their shape asks for, or not right behind the tensor before."""
    last, before = 0, "the header"
    for name, (start, end) in sorted(ranges.items(), key=lambda item: item[1]):
        tensor = tensors[name]
        if tensor.dtype not in BITS:
            yield f'{name} is of type "{tensor.dtype}", which safetensors does not know'
        elif any(type(size) is not int or size < 0 for size in tensor.shape):
            yield f"{name} has the shape {list(tensor.shape)}"
        elif (end - start) * 8 != (needed := prod(tensor.shape) * BITS[tensor.dtype]):
            yield f"{name} {list(tensor.shape)} in {tensor.dtype} takes {needed // 8} bytes, but has {end - start}"
        if start != last:
            yield f"{name} begins at byte {start}, but {before} ends at {last}"
        last, before = end, name


def some(names: Iterable[str], count: int, shown: int = 3) -> str:
    """The first of `count` names, and how many follow."""
    first = list(islice(names, shown))
    return ", ".join(first) + (f" and {count - len(first)} more" if count > len(first) else "")
