"""`state.json` of a checkpoint: what every file of it must hold, and whether it does."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.hashes import KINDS, hash_bytes, hash_files

STATE = "state.json"
EXPORT = "huggingface"  # the folder of an exported policy inside a checkpoint; a run that continues does not need it

Files = Mapping[str, Mapping[str, Any]]  # {"bytes": int, "hash": str} of each file, by its path relative to the checkpoint


@dataclass(frozen=True, slots=True)
class Expected:
    """What one file of a checkpoint must be; checkpoints of older versions have no hashes."""

    bytes: int
    hash: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """The contents of `state.json`."""

    position: Mapping[str, Any]
    files: Mapping[str, Expected]

    @property
    def bytes(self) -> int:
        """Bytes of the whole checkpoint but `state.json`."""
        return sum(expected.bytes for expected in self.files.values())


# What was found in each checkpoint that this process has read whole, and size, time and place of its files then: a start reads it once.
_read_whole: dict[Path, tuple[tuple[tuple[object, ...], ...], list[str]]] = {}


def write_state(folder: Path, position: Mapping[str, Any], files: Files) -> None:
    """Write `state.json`, with a hash of itself."""
    state = {"position": dict(position), "files": {name: dict(files[name]) for name in sorted(files)}}
    (folder / STATE).write_text(json.dumps({**state, "hash": hash_bytes(_canonical(state))}, indent=1))


def read_state(folder: Path) -> State:
    """The state of a checkpoint; OSError, ValueError, KeyError or TypeError if it cannot be read or is not what was written."""
    state = json.loads((folder / STATE).read_text())
    written = state.pop("hash", None)
    files = {
        name: Expected(found["bytes"], found["hash"]) if isinstance(found, dict) else Expected(found)
        for name, found in state["files"].items()
    }
    with_hashes = written is not None or any(expected.hash for expected in files.values())
    if with_hashes and written != hash_bytes(_canonical(state)):
        raise ValueError("it is not what was written, as its hash says")
    if any(not isinstance(expected.bytes, int) for expected in files.values()):
        raise TypeError("the size of a file is no number")
    return State(state["position"], files)


def damage(folder: Path, state: State, *, read: bool = True) -> list[str]:
    """What is missing, cut off or altered among the files of a checkpoint, one line a file; `read = False` looks at sizes alone."""
    files = {name: expected for name, expected in state.files.items() if not name.startswith(f"{EXPORT}/")}
    wrong = [said for name, expected in files.items() if (said := _wrong_size(folder, name, expected))]
    hashed = {name: expected for name, expected in files.items() if expected.hash}
    if wrong or not read or not hashed:
        return wrong
    seen = tuple(_seen(folder / name) for name in (STATE, *hashed))
    if folder not in _read_whole or _read_whole[folder][0] != seen:
        _read_whole[folder] = seen, _wrong_bytes(folder, hashed)
    return _read_whole[folder][1]


def _wrong_size(folder: Path, name: str, expected: Expected) -> str:
    path = folder / name
    if not path.is_file():
        return f"{name} is missing"
    size = path.stat().st_size
    return "" if size == expected.bytes else f"{name} has {size:,} bytes instead of {expected.bytes:,}"


def _wrong_bytes(folder: Path, files: Mapping[str, Expected]) -> list[str]:
    kinds = [expected.hash.partition(":")[0] for expected in files.values()]
    if unknown := sorted(set(kinds) - set(KINDS)):
        return [f"its hashes are of the kind {', '.join(unknown)}, which this version does not know"]
    try:
        found = hash_files([folder / name for name in files], kinds)
    except OSError as error:
        return [f"{Path(error.filename or folder).name} cannot be read: {error.strerror or error}"]
    return [
        f"{name} is not what was written, as its hash says"
        for (name, expected), now in zip(files.items(), found, strict=True)
        if now != expected.hash
    ]


def describe_file(path: Path, hashed: str) -> dict[str, Any]:
    """A file as `state.json` describes it."""
    return {"bytes": path.stat().st_size, "hash": hashed}


def describe_files(folder: Path, paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Files of a checkpoint as `state.json` describes them, read whole."""
    hashes = hash_files(paths)
    return {str(path.relative_to(folder)): describe_file(path, found) for path, found in zip(paths, hashes, strict=True)}


def _seen(path: Path) -> tuple[object, ...]:
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns, found.st_ino


def _canonical(state: Mapping[str, Any]) -> bytes:
    return json.dumps(state, sort_keys=True).encode()
