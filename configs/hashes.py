"""Hashes of files: one flipped bit changes them. They protect against broken disks and cut copies, not against people.

XXH3 reads memory ten times as fast as SHA-256 does, so that reading the disk is what a check of a checkpoint costs.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import xxhash

CHUNK = 4 << 20  # bytes read at a time
READERS = 8  # files read at the same time: shared file systems are slow for one reader and fast for many


class Hasher(Protocol):
    """What hashlib's and xxhash's objects have in common."""

    def update(self, data: bytes | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


KINDS: Mapping[str, Callable[[], Hasher]] = {"xxh3_128": xxhash.xxh3_128, "sha256": sha256}
KIND = "xxh3_128"


def hash_bytes(data: bytes | memoryview) -> str:
    """The hash of some bytes, as `hash_file` gives it for a file that holds them."""
    hasher = KINDS[KIND]()
    hasher.update(data)
    return f"{KIND}:{hasher.hexdigest()}"


def hash_file(path: Path, kind: str = KIND) -> str:
    """The hash of a file's bytes, with the name of its kind before a colon. OSError if the file cannot be read."""
    hasher, buffer = KINDS[kind](), memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
    return f"{kind}:{hasher.hexdigest()}"


def hash_files(paths: Sequence[Path], kinds: Sequence[str] = ()) -> list[str]:
    """The hashes of many files, read at the same time; `kinds` names the kind of each, by default the fastest."""
    with ThreadPoolExecutor(min(READERS, max(1, len(paths), os.cpu_count() or 1))) as readers:
        return list(readers.map(hash_file, paths, kinds or [KIND] * len(paths)))
