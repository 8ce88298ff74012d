"""A patch: the numbers of a rank's share that changed since the last publish, as bytes. No pickle.

    magic, number of records                        int64 each
    records [n, 17]                                 int64: the fields of `Record`
    of each record: gaps, codes, bytes, numbers     each padded to 8 bytes

Both ends have the manifest, so a tensor is its place there. A record may be of a slice of a tensor, or of a rank's experts, whose numbers
lie in blocks of the whole tensor:

    number i of the share  ->  number base + (i // block) * stride + i % block of the tensor
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from math import prod

import torch
from torch import Tensor

from rollout.delta.carry import shares_of_digest
from rollout.delta.differences import CODE_BITS, INTEGERS, read_differences, write_differences
from rollout.delta.gaps import read_places, symbol_bytes, write_places
from rollout.transfer.proof import ITEM_BYTES, Digest, Entry, Manifest

MAGIC = 0x4757_4454_0001
HEAD = 16  # bytes before the records
PAD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a share of a tensor lies in it."""

    entry: int  # the tensor's place in the manifest
    start: int = 0  # added to the places of the share before the blocks are counted
    base: int = 0
    block: int = 1 << 62  # one block, unless experts are spread over ranks
    stride: int = 0

    def of(self, places: Tensor) -> Tensor:
        """Places in the tensor of places in the share; ascending ones stay so."""
        if not self.stride:
            return places + (self.start + self.base)
        places = places + self.start
        blocks = places // self.block
        return self.base + blocks * self.stride + (places - blocks * self.block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The head of one share's changes."""

    entry: int
    start: int
    base: int
    block: int
    stride: int
    count: int  # of changes
    width: int
    symbols: int
    small: int
    whole: int
    end: int  # the largest changed place of the tensor
    removed: int  # what the old numbers are in the tensor's digest: its sum, and below its sum with places
    removed_placed: int
    added: int
    added_placed: int
    total: int  # numbers of the tensor
    item: int  # bytes of one

    def sizes(self) -> tuple[int, int, int, int]:
        """Bytes of the streams: gaps, codes, bytes, whole numbers."""
        return symbol_bytes(self.width, self.symbols), symbol_bytes(CODE_BITS, self.count), self.small, self.whole * self.item


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one record says."""

    entry: Entry
    places: Tensor  # [n] in the flat tensor, ascending
    differences: Tensor  # [n], to be added to the bits, modulo their size
    removed: Digest
    added: Digest


def write_record(where: Where, entry: Entry, places: Tensor, new: Tensor, differences: Tensor) -> tuple[Record, list[Tensor]]:
    """The record and the streams of a share with at least one change; `places` are the share's own, `new` its bits there."""
    width, symbols, gaps = write_places(places)
    codes, small, whole = write_differences(differences)
    there, total = where.of(places), prod(entry.shape)
    sums = torch.cat([there[-1:], shares_of_digest(there, (new - differences, new), total).view(-1)]).tolist()
    record = Record(
        entry=where.entry, start=where.start, base=where.base, block=where.block, stride=where.stride, count=len(places), width=width,
        symbols=symbols, small=len(small), whole=len(whole), end=sums[0], removed=sums[1], removed_placed=sums[2], added=sums[3],
        added_placed=sums[4], total=total, item=differences.element_size(),
    )  # fmt: skip
    return record, [gaps, codes, small.view(torch.uint8), whole.view(torch.uint8)]


def join(parts: Sequence[tuple[Record, list[Tensor]]]) -> Tensor:
    """The patch of some records, uint8 on CPU."""
    table = [number for record, _ in parts for number in astuple(record)]
    head = torch.tensor([MAGIC, len(parts), *table], dtype=torch.int64).view(torch.uint8)
    streams = [_padded(stream.cpu()) for _, of_record in parts for stream in of_record]
    return torch.cat([head, *streams])


def read_patch(patch: Tensor, manifest: Manifest, device: torch.device) -> Iterator[Changes]:
    """The changes of every record; ValueError if the bytes are no patch of the manifest's tensors."""
    records = read_records(patch, manifest)
    at = HEAD + 8 * len(fields(Record)) * len(records)
    if at + sum(_aligned(size) for record in records for size in record.sizes()) != patch.numel():
        raise ValueError(f"a patch of {patch.numel()} bytes is cut or too long")
    for record in records:
        streams = []
        for size in record.sizes():
            streams.append(patch[at : at + size].to(device))
            at += _aligned(size)
        gaps, codes, small, whole = streams
        places = read_places(gaps, record.width, record.symbols)
        whole = whole.clone().view(INTEGERS[record.item])
        differences = read_differences(codes, small.view(torch.int8), whole, record.count)
        entry = manifest[record.entry]
        where = Where(entry=record.entry, start=record.start, base=record.base, block=record.block, stride=record.stride)
        there = where.of(places)
        if len(there) != record.count or int(there[-1]) != record.end:
            raise ValueError(f"a patch names other places of {entry.name} than its record says")
        removed, added = (record.removed, record.removed_placed), (record.added, record.added_placed)
        yield Changes(entry=entry, places=there, differences=differences, removed=removed, added=added)


def read_records(patch: Tensor, manifest: Manifest) -> list[Record]:
    """The heads of all records; ValueError if they do not fit the manifest."""
    if patch.dtype != torch.uint8 or patch.numel() < HEAD:
        raise ValueError("these bytes are no patch: it is shorter than its head")
    magic, count = patch[:HEAD].clone().view(torch.int64).tolist()
    columns = len(fields(Record))
    if magic != MAGIC or not 0 <= count <= (patch.numel() - HEAD) // (8 * columns):
        raise ValueError("these bytes are no patch of this version")
    table = patch[HEAD : HEAD + 8 * columns * count].clone().view(torch.int64).view(count, columns).tolist()
    records = [Record(**dict(zip((field.name for field in fields(Record)), row, strict=True))) for row in table]
    for record in records:
        _check(record, manifest)
    return records


def _check(record: Record, manifest: Manifest) -> None:
    """Raise ValueError unless the record is one of a tensor of the manifest."""
    if not 0 <= record.entry < len(manifest):
        raise ValueError(f"a patch names tensor {record.entry} of {len(manifest)}")
    entry = manifest[record.entry]
    fits = record.total == prod(entry.shape) and record.item == ITEM_BYTES[entry.dtype]
    positive = min(record.start, record.base, record.stride, record.small, record.whole) >= 0 and min(record.count, record.block) > 0
    if not fits or not positive or not 0 <= record.end < record.total or record.symbols < record.count:
        raise ValueError(f"a patch does not fit {entry.name} with its shape {entry.shape} of {entry.dtype}")


def _aligned(size: int) -> int:
    return -(-size // PAD) * PAD


def _padded(stream: Tensor) -> Tensor:
    return torch.nn.functional.pad(stream, (0, _aligned(stream.numel()) - stream.numel()))
