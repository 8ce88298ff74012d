"""Digests of tensors: two 64-bit sums over a tensor's bytes, computed on its own device and read with one stop for many tensors."""

import threading
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from rollout.transfer.proof import Digest, Proof

WORD = 4  # bytes
COLUMNS = 1 << 10  # words of a row; the sums of rows and of columns give the sum of words times places without a product a word
CPU_WORDS = 1 << 17  # words digested at a time: their int64 copy then stays within a core's cache
GPU_WORDS = 1 << 23  # a kernel launch costs as much as reading a megabyte: few launches, and a copy of only 64 MiB
SMALL_WORDS = 1 << 14  # up to which a CPU multiplies each word by its place, in numpy, whose calls cost a third of torch's
PLACES = np.arange(1, SMALL_WORDS + WORD)


class Room(threading.local):
    """Memory of each thread for the words as int64: new memory for each piece, touched page by page, takes four times as long."""

    def __init__(self) -> None:
        with torch.inference_mode(False):  # else nothing could be written to it outside of that mode later
            self.words = torch.empty(CPU_WORDS, dtype=torch.int64, device="cpu")


ROOM = Room()


def digest(tensor: torch.Tensor) -> Digest:
    """The digest of one tensor; a GPU has to finish all its work first, so use `sums` and `read` for many."""
    return read({"": sums(tensor)})[""]


def sums(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor's words and the sum of each word times its place, from 1, both modulo 2**64: int64 [2] on the tensor's device.

    Words are int32; bytes that fill no word count as words at the end. Permuted, missing, cast or altered words change the digest.
    """
    raw = tensor.detach().contiguous().view(-1).view(torch.uint8)
    if raw.storage_offset() % WORD:
        raw = raw.clone()  # a tensor of a packed chunk begins where the one before it ends, which may be within a word
    if raw.device.type == "cpu" and raw.numel() <= SMALL_WORDS * WORD:
        return _sums_of_few(raw.numpy())
    whole = raw.numel() // WORD * WORD
    words = raw[:whole].view(torch.int32)
    tabled = words.numel() // COLUMNS * COLUMNS
    rows = torch.empty(tabled // COLUMNS, dtype=torch.int64, device=raw.device)
    columns = torch.zeros(COLUMNS, dtype=torch.int64, device=raw.device)
    size = CPU_WORDS if raw.device.type == "cpu" else GPU_WORDS
    for start in range(0, tabled, size):
        table = _wide(words[start : min(start + size, tabled)]).view(-1, COLUMNS)
        first = start // COLUMNS
        torch.sum(table, dim=1, out=rows[first : first + len(table)])
        columns += table.sum(dim=0)
    rest = torch.cat([words[tabled:].to(torch.int64), raw[whole:].to(torch.int64)])
    # Word c of row r has the place r * COLUMNS + c + 1.
    placed = _placed(rows, 0) * COLUMNS + _placed(columns, 1) + _placed(rest, tabled + 1)
    return torch.stack([rows.sum() + rest.sum(), placed])


def _wide(words: torch.Tensor) -> torch.Tensor:
    """The words as int64; on a CPU until the next call of this thread."""
    return ROOM.words[: len(words)].copy_(words) if words.device.type == "cpu" else words.to(torch.int64)


def _sums_of_few(raw: NDArray[np.uint8]) -> torch.Tensor:
    """The same of few bytes on a CPU: most tensors of a model are small."""
    whole = len(raw) // WORD * WORD
    words = np.concatenate([raw[:whole].view(np.int32), raw[whole:]]).astype(np.int64)
    return torch.tensor([int(words.sum()), int(np.dot(words, PLACES[: len(words)]))])


def read(found: Mapping[str, torch.Tensor]) -> Proof:
    """The digests of tensors by name, from their `sums` on one device. A GPU's stream is waited for once."""
    if not found:
        return {}
    values = torch.stack(list(found.values())).tolist()
    return {name: (total, placed) for name, (total, placed) in zip(found, values, strict=True)}


def _placed(values: torch.Tensor, first: int) -> torch.Tensor:
    """The sum of values times their places, which count from `first`."""
    return (values * torch.arange(first, first + values.numel(), device=values.device)).sum()
