"""Parking on plain objects: what is found, what comes back, what may fail."""

import gc
import re
from typing import Any

import pytest
import torch
from torch import nn

from learner.model.parking import Parking, storages, within

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _few_objects() -> None:
    """Parking collects garbage: leave out what libraries and earlier tests have made."""
    gc.freeze()


class Owner(nn.Module):
    """Weights that are views of one flat buffer, as DeepSpeed's are, and an optimizer that has moved them."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = torch.randn(12)
        self.weight = nn.Parameter(self.flat[:8].view(2, 4))
        self.weight.shard = self.flat[8:]  # type: ignore[attr-defined]
        self.optimizer = torch.optim.AdamW([self.weight])
        self.weight.grad = torch.ones(2, 4)
        self.optimizer.step()
        self.table: dict[str, Any] = {"deep": [({"er": torch.arange(5)},)]}


def test_views_stay_views_and_every_byte_comes_back() -> None:
    owner = Owner()
    before = [owner.flat.clone(), owner.table["deep"][0][0]["er"].clone(), owner.optimizer.state[owner.weight]["exp_avg"].clone()]
    parking = Parking(owner, CPU)
    for _ in range(2):
        assert parking.park() > 0
        assert owner.weight.untyped_storage().nbytes() == 0
        assert storages(owner, CPU) == []
        parking.unpark()
        now = [owner.flat, owner.table["deep"][0][0]["er"], owner.optimizer.state[owner.weight]["exp_avg"]]
        assert all(torch.equal(old, new) for old, new in zip(before, now, strict=True))
        owner.weight.data.fill_(3.0)
        assert owner.flat[:8].eq(3).all()
        before[0] = owner.flat.clone()


def test_host_memory_is_used_again_at_the_next_turn() -> None:
    parking = Parking(Owner(), CPU)
    parking.park()
    first = {buffer.data_ptr() for buffer in parking.buffers}
    parking.unpark()
    parking.park()
    assert {buffer.data_ptr() for buffer in parking.buffers} == first


def test_scratch_is_freed_and_not_copied() -> None:
    owner = Owner()
    owner.bucket = torch.ones(1000)
    parking = Parking(owner, CPU, lambda: [owner.bucket])
    parking.park()
    assert owner.bucket.untyped_storage().nbytes() == 0
    assert max(buffer.numel() for buffer in parking.buffers) < 4000
    parking.unpark()
    assert owner.bucket.fill_(2.0).sum() == 2000


def test_memory_is_given_away_once() -> None:
    parking = Parking(Owner(), CPU)
    parking.park()
    with pytest.raises(RuntimeError, match="parked already"):
        parking.park()


def test_what_another_process_shares_stays_where_it_is() -> None:
    shared = torch.ones(4).share_memory_()
    assert storages([shared, torch.from_numpy(shared.numpy())], CPU) == []


def test_a_lack_of_memory_is_waited_for_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.model.parking.PAUSE_S", 0.0)
    tries = []

    def allocate() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    within(float("inf"), allocate)
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(torch.OutOfMemoryError, match=re.escape("CUDA out of memory")):
        within(0.0, allocate)
