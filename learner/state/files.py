"""The files of a checkpoint's state: safetensors, whose tensors are named `kind:name of the whole tensor:flat start`, each [n].

Written from host memory in one pass that also hashes; read in ranges, without mapping and without pickle.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from xxhash import xxh3_128

LENGTH = 8  # bytes of a safetensors file that say how long its header is
LARGEST_HEADER = 100_000_000  # bytes; safetensors' own bound
CHUNK = 16 << 20  # bytes hashed and written at once
TYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64, "I32": torch.int32}
TYPES |= {"I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
CALLED = {dtype: name for name, dtype in TYPES.items()}


class Fragment(NamedTuple):
    """Numbers that stand together in a whole tensor."""

    kind: str
    name: str
    start: int
    length: int
    dtype: torch.dtype

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.name}:{self.start}"


class Stored(NamedTuple):
    """Where a fragment is on disk."""

    start: int
    length: int
    file: Path
    offset: int  # of its first byte in the file


def write_file(path: Path, fragments: Sequence[Fragment], numbers: Tensor) -> dict[str, int | str]:
    """Write fragments whose bytes follow one another in `numbers` (uint8 in host memory), flushed to the disk; size and hash."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for fragment in fragments:
        begin, end = end, end + fragment.length * fragment.dtype.itemsize
        header[fragment.key] = {"dtype": CALLED[fragment.dtype], "shape": [fragment.length], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    return write_bytes(path, [len(text).to_bytes(LENGTH, "little") + text, bytes_of(numbers[:end])])


def write_bytes(path: Path, parts: Sequence[bytes | memoryview]) -> dict[str, int | str]:
    """Write a file and flush it to the disk; its size and hash."""
    digest, size = xxh3_128(), 0
    with path.open("wb", buffering=0) as file:
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), CHUNK):
                chunk = view[start : start + CHUNK]
                digest.update(chunk)
                size += len(chunk)
                while chunk:
                    chunk = chunk[file.write(chunk) :]
        os.fsync(file.fileno())
    return {"bytes": size, "hash": f"xxh3_128:{digest.hexdigest()}"}


def bytes_of(numbers: Tensor) -> memoryview:
    """The memory of numbers [n] in host memory, which writing to it changes."""
    array: Any = numbers.view(torch.uint8).numpy()
    return memoryview(array)


class Files:
    """All fragments of a checkpoint, from whatever number of files; close them by leaving the `with` block."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """ValueError for a file that is no whole safetensors file."""
        self.found: dict[tuple[str, str], list[Stored]] = {}
        self.types: dict[tuple[str, str], torch.dtype] = {}
        self.opened: dict[Path, int] = {}
        for path in paths:
            for fragment, stored in fragments_of(path):
                whole = fragment.kind, fragment.name
                self.found.setdefault(whole, []).append(stored)
                if self.types.setdefault(whole, fragment.dtype) != fragment.dtype:
                    raise ValueError(f"{path} has {fragment.name} in another type than the files before it: the checkpoint is damaged")
        for several in self.found.values():
            several.sort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for descriptor in self.opened.values():
            os.close(descriptor)
        self.opened.clear()

    def numbers(self) -> Mapping[tuple[str, str], int]:
        """How many numbers there are of each kind and whole tensor."""
        return {whole: sum(stored.length for stored in several) for whole, several in self.found.items()}

    def read(self, kind: str, name: str, start: int, out: Tensor) -> None:
        """Fill `out` [n], in host memory and of the stored type, with the whole tensor's numbers from `start`; ValueError if some lack."""
        several, size = self.found.get((kind, name), []), out.dtype.itemsize
        target = bytes_of(out)
        at, end = start, start + len(out)
        place = max(bisect_right(several, at, key=lambda stored: stored.start) - 1, 0)
        while at < end:
            if place >= len(several) or not several[place].start <= at < several[place].start + several[place].length:
                raise ValueError(
                    f"the checkpoint lacks numbers {at} to {end} of {kind} {name}: use another checkpoint, or another model.path"
                )
            stored = several[place]
            count = min(end, stored.start + stored.length) - at
            wanted = target[(at - start) * size : (at - start + count) * size]
            self._fill(wanted, stored.file, stored.offset + (at - stored.start) * size)
            at, place = at + count, place + 1

    def _fill(self, wanted: memoryview, path: Path, offset: int) -> None:
        if path not in self.opened:
            self.opened[path] = os.open(path, os.O_RDONLY)
        while wanted:
            got = os.preadv(self.opened[path], [wanted], offset)
            if not got:
                raise ValueError(f"{path} ends early: use another checkpoint")
            wanted, offset = wanted[got:], offset + got


def fragments_of(path: Path) -> list[tuple[Fragment, Stored]]:
    """What one file holds, from its header alone; ValueError if it is no whole safetensors file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            if length > LARGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        found, size = [], path.stat().st_size
        for key, entry in header.items():
            kind, rest = key.split(":", 1)
            name, start = rest.rsplit(":", 1)
            (count,), (begin, end), dtype = entry["shape"], entry["data_offsets"], TYPES[entry["dtype"]]
            offset = LENGTH + length + begin
            if end - begin != count * dtype.itemsize or begin < 0 or LENGTH + length + end > size:
                raise ValueError(f"{key} ends outside of the file")
            found.append((Fragment(kind, name, int(start), count, dtype), Stored(int(start), count, path, offset)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no whole file of a checkpoint ({error}): use another checkpoint") from error
    return found
