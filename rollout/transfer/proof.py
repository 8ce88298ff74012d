"""What both ends of a publish must agree on, without a tensor: the manifest, and the digests that each end saw."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

ALIGNMENT = 16  # bytes; every tensor of a bucket starts on it so that any dtype may be viewed in place
ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "int64": 8, "int32": 4, "uint8": 1}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor on the wire: its canonical name, dtype (torch's name without `torch.`) and full shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * ITEM_BYTES[self.dtype]


Manifest = tuple[Entry, ...]
Digest = tuple[int, int]
Proof = dict[str, Digest]


def columns_of(manifest: Manifest) -> dict[str, list[Any]]:
    """A manifest in columns, as vLLM's transfer engines need it."""
    return {
        "names": [entry.name for entry in manifest],
        "dtype_names": [entry.dtype for entry in manifest],
        "shapes": [list(entry.shape) for entry in manifest],
    }


def manifest_of(rows: Iterable[tuple[str, str, Any]]) -> Manifest:
    """A manifest from plain rows (name, dtype, shape), as they travel between processes."""
    return tuple(Entry(name, dtype, tuple(int(n) for n in shape)) for name, dtype, shape in rows)


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def buckets(manifest: Manifest, limit: int) -> list[list[Entry]]:
    """Consecutive entries whose aligned bytes stay within `limit`; a larger tensor travels alone."""
    out: list[list[Entry]] = []
    room = 0
    for entry in manifest:
        size = aligned(entry.nbytes)
        if not out or size > room:
            out.append([])
            room = limit
        out[-1].append(entry)
        room -= size
    return out


def fingerprint(proof: Proof) -> str:
    """One short name for all weights together: equal proofs have equal names, different proofs different names."""
    return sha256(repr(sorted((name, tuple(sums)) for name, sums in proof.items())).encode()).hexdigest()[:32]


def differences(sent: Proof, received: Proof) -> list[str]:
    """The tensors that a receiver lacks, has beyond what was sent, or has with other bytes; empty if the proofs agree."""
    found = [f"{name} was sent but not received" for name in sent if name not in received]
    found += [f"{name} was received but never sent" for name in received if name not in sent]
    found += [f"{name} arrived altered" for name in sent if name in received and tuple(sent[name]) != tuple(received[name])]
    return found
