"""Buckets under way: a toy group that fills and reads memory only when it is waited for, as a slow network does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rollout.transfer.buckets import KEPT_BYTES, TwoBuffers, arriving, size_of, streamed, unpacked
from rollout.transfer.proof import Entry, buckets

MANIFEST = tuple(
    Entry(f"t{n}", dtype, (n + 1, 3)) for n, dtype in enumerate(("float32", "bfloat16", "int64", "uint8", "float32", "float16"))
)


class Group:
    """Each bucket arrives when it is waited for; the log says what was begun, waited for and worked on."""

    def __init__(self, breaks_at: int = -1) -> None:
        self.log: list[str] = []
        self.breaks_at = breaks_at

    def broadcast(self, tensors: list[Tensor], options: Any) -> Any:
        number = sum(line.startswith("begin") for line in self.log)
        self.log.append(f"begin {number}")
        return type("Work", (), {"wait": lambda work: self.arrive(number, tensors[0])})()

    def arrive(self, number: int, buffer: Tensor) -> None:
        self.log.append(f"wait {number}")
        if number == self.breaks_at:
            raise RuntimeError("Connection closed by peer")
        buffer.fill_(number)


@pytest.mark.parametrize("limit", [1, 64, 1 << 20])
@pytest.mark.parametrize("room", [TwoBuffers().room, TwoBuffers.fresh])
def test_the_next_bucket_is_on_its_way_before_the_caller_works_on_one_and_spoils_none_of_its_bytes(
    limit: int, room: Callable[[int, int], Tensor]
) -> None:
    group: Any = Group()
    plan = buckets(MANIFEST, limit)
    for number, (bucket, buffer) in enumerate(arriving(group, plan, room)):
        group.log.append(f"work {number}")
        assert bucket == plan[number]
        assert buffer.numel() == size_of(bucket)
        assert set(buffer.tolist()) == {number}
    expected = ["begin 0"]
    for number in range(len(plan)):
        expected += [*([f"begin {number + 1}"] if number + 1 < len(plan) else []), f"wait {number}", f"work {number}"]
    assert group.log == expected


@pytest.mark.parametrize(
    ("tensors", "limit", "count"), [(64, 1 << 24, 4), (64, 1 << 17, 32), (2, 1 << 24, 1), (0, 1 << 24, 0), (1000, 1 << 24, 8)]
)
def test_a_small_checkpoint_has_several_buckets_too_and_none_is_too_small_for_its_broadcast(tensors: int, limit: int, count: int) -> None:
    manifest = tuple(Entry(f"t{n}", "float32", (1 << 14,)) for n in range(tensors))  # of 64 KiB each
    plan = streamed(manifest, limit)
    assert len(plan) == count
    assert [entry for bucket in plan for entry in bucket] == list(manifest)


def test_an_exchange_without_tensors_begins_nothing() -> None:
    group: Any = Group()
    assert list(arriving(group, [], TwoBuffers().room)) == []
    assert group.log == []


def test_a_bucket_that_does_not_arrive_ends_the_exchange_with_its_error() -> None:
    group: Any = Group(breaks_at=1)
    plan = buckets(MANIFEST, 1)
    with pytest.raises(RuntimeError, match="closed by peer"):
        for _ in arriving(group, plan, TwoBuffers().room):
            pass
    assert group.log[-1] == "wait 1"


def test_two_buckets_have_memory_of_their_own_which_the_next_two_and_the_next_publish_use_again() -> None:
    two = TwoBuffers()
    first, second, third = two.room(0, 64), two.room(1, 32), two.room(2, 48)
    assert first.data_ptr() == third.data_ptr() == two.room(0, 64).data_ptr() != second.data_ptr()
    assert [buffer.numel() for buffer in (first, second, third)] == [64, 32, 48]
    assert two.room(0, 128).numel() == 128, "it grows"


def test_memory_of_a_tensor_beyond_the_usual_is_not_kept() -> None:
    two = TwoBuffers()
    assert two.room(0, KEPT_BYTES + 1).numel() == KEPT_BYTES + 1
    assert sum(buffer.numel() for buffer in two.kept) == 0


def test_tensors_are_views_of_their_bucket_at_aligned_places() -> None:
    (bucket,) = buckets(MANIFEST, 1 << 20)
    buffer = torch.zeros(size_of(bucket), dtype=torch.uint8)
    weights = unpacked(buffer, bucket)
    assert [(name, str(t.dtype), tuple(t.shape)) for name, t in weights] == [(e.name, f"torch.{e.dtype}", e.shape) for e in bucket]
    assert all((t.data_ptr() - buffer.data_ptr()) % 16 == 0 for _, t in weights)
    for _, tensor in weights:
        tensor.fill_(1)
    assert int(buffer.count_nonzero()) > 0
