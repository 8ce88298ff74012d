"""A patch of changed numbers: bit for bit, in few bytes, and refused where it does not fit."""

from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rollout.delta.carried import carried
from rollout.delta.carry import shares_of_digest
from rollout.delta.changes import take_changes
from rollout.delta.differences import INTEGERS, as_integers, read_differences, write_differences
from rollout.delta.gaps import read_places, write_places
from rollout.delta.packing import pack, unpack
from rollout.delta.patch import HEAD, Where, join, read_patch, write_record
from rollout.delta.side_by_side import side_by_side
from rollout.transfer.digest import digest
from rollout.transfer.proof import Entry

CPU = torch.device("cpu")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "uint8": torch.uint8, "int64": torch.int64}


def patched(old: torch.Tensor, new: torch.Tensor, entry: Entry) -> tuple[torch.Tensor, int]:
    """`old` after the patch that makes it `new`, and the patch's bytes; the digests are checked on the way."""
    before, bits = as_integers(old).clone(), as_integers(new)
    places, differences = take_changes(before, bits)
    assert torch.equal(before, bits)
    mine = as_integers(old).clone()
    if not len(places):
        return mine, 0
    patch = join([write_record(Where(entry=0), entry, places, bits[places], differences)])
    (changes,) = read_patch(patch, (entry,), CPU)
    mine[changes.places] += changes.differences
    assert carried(digest(old), changes.removed, changes.added) == digest(new)
    return mine, patch.numel()


def bits_of(dtype: str, size: int, draw: Any) -> torch.Tensor:
    kind = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}[torch.empty(0, dtype=DTYPES[dtype]).element_size()]
    return torch.from_numpy(draw(hnp.arrays(kind, size))).view(DTYPES[dtype])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(sorted(DTYPES)), size=st.integers(1, 70))
def test_any_bits_become_any_other_bits_and_the_digest_is_carried(data: Any, dtype: str, size: int) -> None:
    old = bits_of(dtype, size, data.draw)
    keep = torch.from_numpy(data.draw(hnp.arrays("bool", size)))
    new = torch.where(keep, as_integers(old), as_integers(bits_of(dtype, size, data.draw))).view(DTYPES[dtype])
    mine, _ = patched(old, new, Entry("w", dtype, (size,)))
    assert torch.equal(mine, as_integers(new))


@pytest.mark.parametrize("start", range(0, 1 << 16, 1 << 13))
def test_every_pattern_of_a_bfloat16_survives(start: int) -> None:
    """NaNs with their payloads, infinities and both zeros: from each pattern to its neighbour, to its negative and to a far one."""
    every = torch.arange(start, start + (1 << 13), dtype=torch.int32).to(torch.int16)
    for new in (every + 1, every ^ -0x8000, every * 3 + 7):
        entry = Entry("w", "bfloat16", (len(every),))
        mine, _ = patched(every.view(torch.bfloat16), new.view(torch.bfloat16), entry)
        assert torch.equal(mine, new)


@pytest.mark.parametrize(("share", "of_bytes"), [(0.0005, 0.003), (0.01, 0.0075), (0.03, 0.0175), (0.3, 0.12), (1.0, 0.19)])
def test_changes_of_one_unit_take_few_of_the_bytes(share: float, of_bytes: float) -> None:
    torch.manual_seed(0)
    old = torch.randn(1 << 18).bfloat16()
    step = torch.where(torch.rand(old.shape) < share, torch.randint(0, 2, old.shape) * 2 - 1, 0).to(torch.int16)
    new = (old.view(torch.int16) + step).view(torch.bfloat16)
    mine, size = patched(old, new, Entry("w", "bfloat16", tuple(old.shape)))
    assert torch.equal(mine, new.view(torch.int16))
    assert size <= old.nbytes * of_bytes


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_symbols_of_any_width_are_unpacked_as_they_were_packed(width: int, count: int) -> None:
    symbols = torch.randint(0, 1 << width, (count,))
    raw = pack(symbols, width)
    assert raw.numel() == -(-count // 8) * width
    assert torch.equal(unpack(raw, width, count), symbols)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 5000), min_size=1))
def test_any_ascending_places_are_read_as_they_were_written(found: set[int]) -> None:
    places = torch.tensor(sorted(found))
    width, count, raw = write_places(places)
    assert torch.equal(read_places(raw, width, count), places)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), item=st.sampled_from(sorted(INTEGERS)))
def test_any_differences_are_read_as_they_were_written(data: Any, item: int) -> None:
    found = data.draw(hnp.arrays(f"int{8 * item}", st.integers(1, 40), elements={"min_value": -5, "max_value": 5}))
    differences = torch.from_numpy(found[found != 0])
    codes, small, whole = write_differences(differences)
    assert torch.equal(read_differences(codes, small, whole, len(differences)), differences)


@pytest.mark.parametrize(("dtype", "size"), [("bfloat16", 9), ("bfloat16", 8), ("float32", 5), ("uint8", 7), ("int64", 3)])
def test_the_shares_of_all_numbers_are_the_digest(dtype: str, size: int) -> None:
    numbers = torch.randint(-(2**40), 2**40, (size,)).to(INTEGERS[torch.empty(0, dtype=DTYPES[dtype]).element_size()])
    ((total, placed), nothing) = shares_of_digest(torch.arange(size), (numbers, numbers * 0), size).tolist()
    assert (total, placed) == digest(numbers.view(DTYPES[dtype]))
    assert nothing == [0, 0]


def test_the_experts_of_a_rank_lie_in_blocks_of_the_whole_tensor() -> None:
    """Rank 1 of 2 has experts 2 and 3 of 4; the second of two leaves fills the second half of each expert."""
    experts, rows, columns = 4, 3, 5
    whole = torch.arange(experts * 2 * rows * columns).view(experts, 2 * rows, columns)
    mine = whole[2:, rows:].reshape(-1)
    block = rows * columns
    where = Where(entry=0, start=4, base=2 * 2 * block + block, block=block, stride=2 * block)
    assert torch.equal(whole.view(-1)[where.of(torch.arange(len(mine) - 4))], mine[4:])


def a_patch() -> tuple[torch.Tensor, Entry]:
    entry = Entry("model.norm.weight", "bfloat16", (4, 8))
    old = torch.zeros(prod(entry.shape), dtype=torch.int16)
    new = old.clone()
    new[[3, 17, 31]] = torch.tensor([1, -1, 300], dtype=torch.int16)
    places, differences = take_changes(old, new)
    return join([write_record(Where(entry=0), entry, places, new[places], differences)]), entry


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda patch: patch[:-8], "cut or too long"),
        (lambda patch: torch.cat([patch, patch[:8]]), "cut or too long"),
        (lambda patch: patch[:7], "no patch"),
        (lambda patch: torch.zeros_like(patch), "no patch of this version"),
        (lambda patch: patch.view(torch.int16), "no patch"),
    ],
    ids=["cut", "too long", "a few bytes", "zeros", "another type"],
)
def test_bytes_that_are_no_patch_are_refused(spoil: Any, said: str) -> None:
    patch, entry = a_patch()
    with pytest.raises(ValueError, match=said):
        list(read_patch(spoil(patch), (entry,), CPU))


@pytest.mark.parametrize("column", range(17))
@pytest.mark.parametrize("value", [-1, 1 << 40])
def test_a_record_that_does_not_fit_its_tensor_never_reaches_a_number_beyond_it(column: int, value: int) -> None:
    patch, entry = a_patch()
    patch[HEAD + 8 * column : HEAD + 8 * column + 8] = torch.tensor([value]).view(torch.uint8)
    try:
        found = list(read_patch(patch, (entry,), CPU))
    except ValueError:
        return
    # Digests are compared with what the numbers are; a stride or a block of a single block changes nothing.
    assert all(int(changes.places[-1]) < prod(entry.shape) for changes in found)


def test_a_patch_of_another_model_is_refused() -> None:
    patch, _ = a_patch()
    with pytest.raises(ValueError, match="does not fit"):
        list(read_patch(patch, (Entry("model.norm.weight", "bfloat16", (4, 9)),), CPU))


def test_work_on_several_threads_gives_the_same_in_order_and_leaves_torchs_threads_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = side_by_side(lambda number: (number, torch.get_num_threads()), range(20), CPU)
        assert [number for number, _ in found] == list(range(20))
        assert {threads for _, threads in found} == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
