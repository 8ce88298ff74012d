"""A checkpoint whose files are not what was written is passed over, and the reason is named."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cluster.record.checkpoint import STATE, STREAM, Checkpoints, faults, read_position
from cluster.record.saves import integrity
from cluster.record.saves.integrity import describe_files
from configs.hashes import hash_files
from tests.cluster.test_checkpoint import FILES, checkpoints, position_at, save, write_ranks

__all__ = ["checkpoints"]  # a fixture


def test_a_checkpoint_with_any_bit_flipped_is_never_found(checkpoints: Checkpoints):
    before, aside = save(checkpoints, 1), checkpoints.begin(2)
    write_ranks(aside)
    whole = checkpoints.commit(aside, position_at(2), {"due": np.arange(3.0)})
    draw = np.random.default_rng(0)
    for example in range(200):
        path = whole / draw.choice([*FILES, STREAM, STATE])
        right = path.read_bytes()
        data = bytearray(right)
        data[draw.integers(len(data))] ^= 1 << draw.integers(8)
        path.write_bytes(data)
        os.utime(path, ns=(0, example))  # a disk that flips a bit changes no time, but no process has read the file before
        if checkpoints.newest() != before:  # white space of state.json, which says the same with or without it
            assert path.name == STATE
            assert read_position(whole) == position_at(2)
        path.write_bytes(right)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("rank-1.json", lambda path: path.unlink(), "rank-1.json is missing"),
        ("rank-1.json", lambda path: path.write_bytes(b""), "rank-1.json has 0 bytes instead of 18"),
        ("optimizer/moments.bin", lambda path: os.truncate(path, 3), "optimizer/moments.bin has 3 bytes instead of 7"),
        ("optimizer/moments.bin", lambda path: path.write_bytes(b"Moments"), "optimizer/moments.bin is not what was written, as its hash"),
        (STREAM, lambda path: path.write_bytes(b"x" * path.stat().st_size), f"{STREAM} is not what was written, as its hash says"),
        (STATE, lambda path: path.unlink(), f"{STATE} cannot be read: .*No such file"),
        (STATE, lambda path: path.write_text(""), f"{STATE} cannot be read: "),
        (STATE, lambda path: path.write_bytes(b"\0" * 999), f"{STATE} cannot be read: "),
        (
            STATE,
            lambda path: path.write_text(path.read_text().replace('"step": 2', '"step": 3')),
            f"{STATE} cannot be read: it is not what",
        ),
        (STATE, lambda path: path.write_text(path.read_text().replace("xxh3_128", "crc32")), f"{STATE} cannot be read: it is not what"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_named_with_the_reason(
    checkpoints: Checkpoints, name: str, damage: Callable[[Path], object], said: str
):
    before, aside = save(checkpoints, 1), checkpoints.begin(2)
    write_ranks(aside)
    whole = checkpoints.commit(aside, position_at(2), {"due": np.arange(3.0)})
    damage(whole / name)
    assert checkpoints.newest() == before
    (passed,) = checkpoints.passed_over()
    assert re.match(rf"step_000002 \({said}", passed)
    with pytest.raises(ValueError, match=said):
        read_position(whole)


def test_one_start_reads_a_checkpoint_once_and_again_only_if_a_file_has_changed(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch):
    whole, times = save(checkpoints, 1), []
    monkeypatch.setattr(integrity, "hash_files", lambda paths, kinds=(): times.append(len(paths)) or hash_files(paths, kinds))
    for _ in range(3):
        assert checkpoints.newest() == whole
        assert checkpoints.passed_over() == []
        read_position(whole)
    assert times == [len(FILES)]
    assert checkpoints.whole() == [whole]
    (whole / "rank-0.json").write_bytes(b"Counters of rank 0")
    os.utime(whole / "rank-0.json", ns=(0, 0))
    assert checkpoints.newest() is None
    assert checkpoints.whole() == [whole], "sizes alone are looked at between two saves"


def test_what_the_ranks_have_hashed_is_taken_from_them_and_must_be_there(checkpoints: Checkpoints):
    aside = checkpoints.begin(1)
    write_ranks(aside)
    written = describe_files(aside, [aside / name for name in FILES])
    (aside / "rank-0.json").write_bytes(b"counters of rank 9")  # after the rank has hashed it: the disk took something else
    assert checkpoints.newest() is None
    whole = checkpoints.commit(aside, position_at(1), None, [written])
    assert faults(whole) == ["rank-0.json is not what was written, as its hash says"]
    aside = checkpoints.begin(2)
    write_ranks(aside)
    (aside / "optimizer" / "moments.bin").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"lacks optimizer/moments\.bin of 2 learner ranks, .* that the nodes of all ranks share"):
        checkpoints.commit(aside, position_at(2), None, [written])
