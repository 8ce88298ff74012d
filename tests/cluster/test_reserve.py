"""A placement group on a busy cluster: the run says what it waits for, and gives up at the deadline."""

from pathlib import Path
from typing import Any

import pytest

from cluster.actors import placement
from cluster.actors.placement import reserve
from cluster.actors.places import device
from configs.schema import Config
from tests.toys.run import run_config

NODES = [
    {"NodeID": name, "NodeManagerAddress": address, "Alive": True, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    for name, address in (("x", "10.0.0.10"), ("y", "10.0.0.9"))
]


class Group:
    """A placement group that is placed at the given try."""

    def __init__(self, placed_at: int) -> None:
        self.placed_at, self.waits = placed_at, []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self.placed_at


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    gone: list[Any] = []
    monkeypatch.setattr(device, "installed", lambda: device.Builds("2.13.0", "13.0", "cuda"))
    monkeypatch.setattr(placement.ray, "nodes", lambda: NODES)
    monkeypatch.setattr(placement, "remove_placement_group", gone.append)
    monkeypatch.setattr(placement, "available_resources_per_node", lambda: {"x": {"GPU": 7.0}, "y": {"CPU": 3.0}})
    # The engine and the first group on the node with the higher address, the second group on the other.
    monkeypatch.setattr(placement, "placement_group_table", lambda group: {"bundles_to_node_id": {0: "x", 1: "x", 2: "y"}})
    return gone


def sharing(monkeypatch: pytest.MonkeyPatch, placed_at: int) -> tuple[Config, Group]:
    group = Group(placed_at)
    monkeypatch.setattr(placement, "placement_group", lambda bundles, strategy: group)
    learner = {"ranks": 8, "expert_parallel": 4, "deepspeed": {"zero_optimization": {"stage": 2}}}
    return run_config(Path("run"), run={"deadline_s": 60}, learner=learner), group


def test_ranks_of_a_placed_group_are_numbered_by_the_address_of_their_node(monkeypatch: pytest.MonkeyPatch, removed: list[Any]) -> None:
    said: list[str] = []
    config, group = sharing(monkeypatch, placed_at=1)
    places = reserve(config, said.append)
    assert places.gpu
    assert places.nodes() == ["x", *["y"] * 4, *["x"] * 4]
    assert [places.options(index, {})["num_gpus"] for index in range(9)] == [1.0] * 9
    assert (said, group.waits) == ([], [placement.PATIENCE_S])
    places.give_back()
    assert removed == [group]


def test_a_run_says_what_it_waits_for_and_goes_on_when_that_is_free(monkeypatch: pytest.MonkeyPatch, removed: list[Any]) -> None:
    said: list[str] = []
    config, group = sharing(monkeypatch, placed_at=2)
    reserve(config, said.append)
    assert said == ["waiting for resources that other jobs use: 1 × 1 and 2 × 4 GPUs needed, each on one node; free on the nodes: 7, 0"]
    assert group.waits == [placement.PATIENCE_S, 60 - placement.PATIENCE_S]
    assert removed == []


def test_a_cluster_that_stays_busy_ends_the_run_at_the_deadline(monkeypatch: pytest.MonkeyPatch, removed: list[Any]) -> None:
    config, group = sharing(monkeypatch, placed_at=3)
    with pytest.raises(
        TimeoutError, match=r"within run\.deadline_s \(60 s\), with 1 × 1 and 2 × 4 GPUs needed.*lower learner\.expert_parallel"
    ):
        reserve(config, [].append)
    assert removed == [group]
