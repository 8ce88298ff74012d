"""The files of a capsule: their names, their hashes, and arrays as safetensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cluster.record.saves.replace import flush
from configs.hashes import hash_bytes, hash_file

CAPSULE, CONFIG, GROUPS = "capsule.json", "config.toml", "groups.json"

Arrays = Mapping[str, NDArray[Any]]
Entry = dict[str, int | str]  # {"bytes": int, "hash": str} of a file


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a capsule that is not what the run wrote."""

    name: str
    what: str
    unreadable: bool = False  # it is missing or cut short

    def __str__(self) -> str:
        return f"{self.name} {self.what}"


def rank_file(rank: int) -> str:
    """The file of one rank."""
    return f"rank_{rank}.safetensors"


def write_tensors(path: Path, arrays: Arrays) -> Entry:
    """Write arrays and flush them to the disk; the file's size and hash."""
    return write_whole(path, save({name: np.ascontiguousarray(values) for name, values in arrays.items()}))


def write_whole(path: Path, data: bytes) -> Entry:
    """Write a file and flush it to the disk; its size and hash."""
    path.write_bytes(data)
    flush(path)
    return {"bytes": len(data), "hash": hash_bytes(data)}


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file; ValueError where it is no whole safetensors file."""
    try:
        return dict(load(path.read_bytes()))
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no whole safetensors file ({error})") from error


def hash_of_head(head: Mapping[str, Any]) -> str:
    """The hash of `capsule.json` without the hash in it."""
    return hash_bytes(json.dumps({key: head[key] for key in head if key != "hash"}, sort_keys=True).encode())


def write_head(folder: Path, head: Mapping[str, Any]) -> None:
    """Write `capsule.json` with a hash of itself. It comes last: a folder without it is no capsule."""
    text = json.dumps({**head, "hash": hash_of_head(head)}, indent=1, allow_nan=False)
    write_whole(folder / CAPSULE, text.encode())


def find_damage(folder: Path, head: Mapping[str, Any]) -> list[Damage]:
    """The files that are missing, cut short or changed since the run wrote them."""
    found = [] if head.get("hash") == hash_of_head(head) else [Damage(CAPSULE, "was changed since the run wrote it")]
    expected = head["files"] if isinstance(head["files"], dict) else {}
    ranks = head["ranks"] if type(head["ranks"]) is int else 0
    some = min(ranks, len(expected) + 1)  # a changed number may claim any, and one that is missing is enough
    names = {CONFIG, GROUPS, *map(rank_file, range(some)), *expected}
    for name in sorted(names):
        path, entry = folder / name, expected.get(name, {})
        if Path(name).name != name or not path.is_file():
            found.append(Damage(name, "is missing", unreadable=True))
        elif (size := path.stat().st_size) < (wanted := entry.get("bytes", size) if isinstance(entry, dict) else size):
            found.append(Damage(name, f"is cut short: it has {size:,} of {wanted:,} bytes", unreadable=True))
        elif not isinstance(entry, dict) or hash_file(path) != entry.get("hash"):
            found.append(Damage(name, "was changed since the run wrote it"))
    return found
