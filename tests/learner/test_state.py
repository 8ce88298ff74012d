"""Files of a state, copies in host memory and places in whole tensors, without ranks."""

import itertools
import json
import math
import threading
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from xxhash import xxh3_128

from configs.errors import CheckpointError
from learner.model.masters import Moments, Part
from learner.state.files import Files, Fragment, write_bytes, write_file
from learner.state.layout import counters_file, read_counters, refuse_other_layouts
from learner.state.place import Place
from learner.state.rank_state import read_into
from learner.state.snapshot import Entry, Snapshot

NAME = "model.layers.0.mlp.experts.gate_up_proj"


def cut(numbers: Tensor, *places: int) -> list[Entry]:
    """Entries of the pieces between the given flat places."""
    ends = [0, *places, len(numbers)]
    return [Entry(numbers[a:b], [Fragment("weights", NAME, a, b - a, numbers.dtype)]) for a, b in itertools.pairwise(ends) if a < b]


def write(path: Path, entries: list[Entry]) -> dict[str, int | str]:
    snapshot = Snapshot()
    snapshot.take(entries)
    return write_file(path, snapshot.fragments, snapshot.memory)


@settings(max_examples=30)
@given(
    places=st.lists(st.integers(0, 100), max_size=6).map(sorted),
    writers=st.integers(1, 4),
    reading=st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64]),
)
def test_any_range_is_read_from_however_many_pieces_in_however_many_files(
    tmp_path_factory: pytest.TempPathFactory, places: list[int], writers: int, reading: list[int], dtype: torch.dtype
) -> None:
    folder, numbers = tmp_path_factory.mktemp("state"), torch.arange(100).to(dtype)
    pieces = cut(numbers, *places)
    paths = [folder / f"{writer}.safetensors" for writer in range(writers)]
    for writer, path in enumerate(paths):
        write(path, pieces[writer::writers])
    start, end = reading
    out = torch.zeros(end - start, dtype=dtype)
    with Files(paths) as files:
        assert files.numbers() == {("weights", NAME): 100}
        files.read("weights", NAME, start, out)
        read_into(files, "weights", NAME, start, converted := torch.zeros(end - start))
    assert torch.equal(out, numbers[start:end])
    assert torch.equal(converted, numbers[start:end].float())


def test_safetensors_reads_a_file_and_its_size_and_hash_are_those_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    half, whole = torch.randn(7).bfloat16(), torch.randn(5)
    written = write(path, [Entry(half, [Fragment("reference", "a", 0, 7, half.dtype)]), *cut(whole, 2)])
    raw = path.read_bytes()
    assert written == {"bytes": len(raw), "hash": f"xxh3_128:{xxh3_128(raw).hexdigest()}"}
    found = load_file(path)
    assert {key: value.tolist() for key, value in found.items()} == {
        f"weights:{NAME}:0": whole[:2].tolist(),
        f"weights:{NAME}:2": whole[2:].tolist(),
        "reference:a:0": half.tolist(),
    }


def test_a_large_file_is_written_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.state.files.CHUNK", 3)
    written = write_bytes(tmp_path / "file", [b"12345678", memoryview(b"90")])
    assert (tmp_path / "file").read_bytes() == b"1234567890"
    assert written == {"bytes": 10, "hash": f"xxh3_128:{xxh3_128(b'1234567890').hexdigest()}"}


@pytest.mark.parametrize(("start", "count"), [(0, 11), (9, 2), (3, 3), (20, 1)])
def test_numbers_that_no_file_has_are_named(tmp_path: Path, start: int, count: int) -> None:
    numbers = torch.arange(10.0)
    write(tmp_path / "a", [*cut(numbers, 4, 5)[:1], *cut(numbers, 4, 5)[2:]])  # without number 4
    with Files([tmp_path / "a"]) as files, pytest.raises(ValueError, match=rf"lacks numbers \d+ to {start + count} of weights {NAME}"):
        files.read("weights", NAME, start, torch.zeros(count))


def damaged(path: Path, how: str) -> None:
    raw = path.read_bytes()
    if how == "cut":
        path.write_bytes(raw[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "long header":
        path.write_bytes((1 << 40).to_bytes(8, "little") + raw[8:])
    elif how == "other names":
        save_file({"weight": torch.zeros(2)}, path)
    elif how == "outside":
        path.write_bytes(raw.replace(b"[0,40]", b"[9,49]"))
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "empty", "long header", "other names", "outside", "missing"])
def test_a_damaged_file_is_refused_by_its_header(tmp_path: Path, how: str) -> None:
    write(tmp_path / "a", cut(torch.arange(10.0)))
    damaged(tmp_path / "a", how)
    with pytest.raises(ValueError, match=r"a is no whole file of a checkpoint \(.*\): use another checkpoint"):
        Files([tmp_path / "a"])


def test_a_snapshot_takes_its_memory_once_and_keeps_what_was_copied() -> None:
    snapshot, numbers = Snapshot(), torch.arange(6.0)
    snapshot.reserve(64, pinned=False)
    place = snapshot.memory.data_ptr()
    for step in range(3):
        snapshot.take([*cut(numbers.bfloat16(), 3), *cut(numbers + step, 1)])
        numbers_then = numbers + step
        assert snapshot.memory.data_ptr() == place
        assert snapshot.memory[:24].view(torch.float32).tolist() == numbers_then.tolist(), "float32 comes first"
        assert [fragment.dtype for fragment in snapshot.fragments] == [torch.float32] * 2 + [torch.bfloat16] * 2
    numbers.zero_()
    assert snapshot.memory[:24].view(torch.float32).tolist() == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("shares", [1, 2, 4])
def test_the_ranges_of_spread_experts_are_those_of_the_whole_tensors(shares: int) -> None:
    """Compared with slices of a whole tensor, as AutoEP takes them."""
    experts, inner, hidden = 4, 3, 5
    gate_up = torch.arange(experts * 2 * inner * hidden).view(experts, 2 * inner, hidden)
    total, each = gate_up.numel(), experts // shares
    for share in range(shares):
        mine = gate_up[share * each : (share + 1) * each]
        for number, local in enumerate((mine[:, :inner], mine[:, inner:])):
            flat, block = local.reshape(-1), inner * hidden
            first = share * each * 2 * block + number * block
            place = Place(name=NAME, total=total, first=first, block=block, stride=2 * block)
            for start, count in ((0, len(flat)), (1, len(flat) - 2), (block - 1, 2 if each > 1 else 1), (4, 0)):
                ranges = list(place.ranges(start, count))
                found = [gate_up.view(-1)[one.start : one.start + one.length] for one in ranges]
                assert torch.equal(torch.cat([flat[:0], *found]), flat[start : start + count])
                assert [one.at for one in ranges] == [sum(len(part) for part in found[:index]) for index in range(len(found))]


def test_a_whole_tensor_is_one_range() -> None:
    shape = (7, 3)
    place = Place(name=NAME, total=math.prod(shape), block=math.prod(shape), stride=math.prod(shape))
    assert [tuple(one) for one in place.ranges(4, 9)] == [(NAME, 4, 9, 0)]


def counters(folder: Path, ranks: int, **more: Any) -> None:
    for rank in range(ranks):
        (folder / counters_file(rank)).write_text(json.dumps({"layout": 1, "ranks": ranks, "rank": rank} | more))


def test_the_counters_of_every_rank_are_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    counters(tmp_path, 3)
    assert [one["rank"] for one in read_counters(tmp_path)] == [0, 1, 2]
    (tmp_path / "rank-2.json").unlink()
    with pytest.raises(CheckpointError, match=r"rank-2\.json does not hold the counters of a learner rank"):
        read_counters(tmp_path)
    (tmp_path / "rank-0.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"rank-0\.json does not hold the counters"):
        read_counters(tmp_path)


def test_layouts_of_other_versions_are_refused_with_what_to_do(tmp_path: Path) -> None:
    counters(tmp_path, 1, layout=7)
    with pytest.raises(CheckpointError, match="has layout 7, and this version reads up to 1: use the version that wrote it"):
        refuse_other_layouts(tmp_path)
    (tmp_path / "zero").mkdir()
    with pytest.raises(CheckpointError, match=r"DeepSpeed's own layout, .* finish the run .* or export it"):
        refuse_other_layouts(tmp_path)


def test_a_snapshot_waits_for_the_write_before() -> None:
    """Else it would alter numbers that are being written."""
    from learner.state.rank_state import RankState

    state = RankState.__new__(RankState)
    state.busy, state.taken, done = threading.Lock(), Snapshot(), threading.Event()
    state._entries = lambda: iter(cut(torch.ones(4)))  # type: ignore[method-assign]
    state._counters = lambda: {"layout": 1}  # type: ignore[method-assign]

    def snapshot() -> None:
        state.snapshot()
        done.set()

    with state.busy:
        thread = threading.Thread(target=snapshot)
        thread.start()
        assert not done.wait(0.05)
    thread.join(5)
    assert done.is_set()


@pytest.mark.parametrize("made", ["torch", "deepspeed"])
def test_moments_begin_where_an_optimizer_has_none_and_are_forgotten(made: str) -> None:
    owner = torch.ones(6)
    # DeepSpeed's AdamW for host memory counts in Python.
    optimizer: Any = torch.optim.AdamW([owner]) if made == "torch" else SimpleNamespace(state=defaultdict(dict))
    moments = Moments(SimpleNamespace(engine=SimpleNamespace(optimizer=optimizer)))  # type: ignore[arg-type]
    part = Part(parameter="weight", start=0, weights=owner[2:5], owner=owner, offset=2)
    assert (moments.of(part), moments.steps(part)) == ({}, 0)
    moments.begin(part, 0)
    assert moments.of(part) == {}, "nothing is behind it, so nothing is needed"
    moments.begin(part, 7)
    assert moments.steps(part) == 7
    assert isinstance(optimizer.state[owner]["step"], Tensor if made == "torch" else int)
    for moment in moments.of(part).values():
        moment += 1
    assert {name: optimizer.state[owner][name].tolist() for name in ("exp_avg", "exp_avg_sq")} == {
        name: [0, 0, 1, 1, 1, 0] for name in ("exp_avg", "exp_avg_sq")
    }
    moments.forget()
    assert moments.steps(part) == 0
    assert all(not moment.any() for moment in moments.of(part).values())
