"""What a run reserves on a busy cluster: everything together or nothing, and the places of engines that come and go."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cluster.actors import placement
from cluster.actors.placement import reserve
from cluster.actors.places.apart import Places
from cluster.actors.places.bundles import Bundle
from configs.schema import Config
from tests.toys.places import ToyCluster
from tests.toys.run import run_config

EIGHT: Bundle = {"CPU": 64.0, "GPU": 8.0}
FOUR: Bundle = {"CPU": 64.0, "GPU": 4.0}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyCluster]:
    """Two nodes of eight GPUs, on which a second of waiting takes no time."""
    toy = ToyCluster(a=EIGHT, b=EIGHT).installed(monkeypatch)
    seconds = count()
    monkeypatch.setattr(placement, "cluster_nodes", lambda: list(toy.nodes.values()))
    monkeypatch.setattr(placement, "pause", lambda given_up, seconds: None)
    monkeypatch.setattr(placement.time, "monotonic", lambda: float(next(seconds)))
    return toy


def wanting(engines: Any = 1, ranks: int = 8, *, group: int = 4, tensor: int = 1) -> Config:
    return run_config(
        Path("run"),
        run={"deadline_s": 60},
        rollout={"engines": engines, "cpus_per_engine": 1, "vllm": {"tensor_parallel_size": tensor}},
        learner={"ranks": ranks, "expert_parallel": group, "deepspeed": {"zero_optimization": {"stage": 2}}},
    )


def reserved(config: Config, said: list[str] | None = None) -> Places:
    places = reserve(config, ([] if said is None else said).append)
    assert isinstance(places, Places)
    return places


def test_an_engine_has_a_group_of_its_own_and_ranks_are_numbered_by_the_address_of_their_node(cluster: ToyCluster) -> None:
    cluster.nodes = {"b": EIGHT, "a": EIGHT}  # Ray names nodes in no order
    said: list[str] = []
    places = reserved(wanting(2, 8, group=4), said)
    assert places.gpu
    assert (places.nodes(), said) == (["a", "a", *["b"] * 8], [])
    assert [len(group.bundles) for group in cluster.groups] == [1, 1, 2]
    assert [places.rank_options(rank, {})["scheduling_strategy"].placement_group_bundle_index for rank in range(8)] == [0] * 4 + [1] * 4
    assert [places.options(index, {})["num_gpus"] for index in range(2)] == [1.0, 1.0]
    places.give_back()
    assert cluster.groups == []


def test_ranks_on_two_nodes_are_numbered_node_by_node(cluster: ToyCluster) -> None:
    cluster.nodes = {"c": FOUR, "b": FOUR, "a": FOUR}
    assert reserved(wanting(2, 8, group=4, tensor=2)).nodes() == ["a", "a", *["b"] * 4, *["c"] * 4]


def test_a_run_says_what_it_waits_for_and_goes_on_when_that_is_free(cluster: ToyCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    cluster.busy = {"a": {"GPU": 1.0}, "b": {"GPU": 8.0}}
    waits = count()
    monkeypatch.setattr(placement, "pause", lambda *_: cluster.busy.clear() if next(waits) == 12 else None)
    reserved(wanting(), said)
    assert said == ["waiting for resources that other jobs use: 1 × 1 and 2 × 4 GPUs needed, each on one node; free on the nodes: 7, 0"]


def test_a_cluster_that_stays_busy_ends_the_run_at_the_deadline_and_nothing_was_ever_held(cluster: ToyCluster) -> None:
    cluster.busy = {"a": {"GPU": 1.0}, "b": {"GPU": 8.0}}
    with pytest.raises(
        TimeoutError, match=r"within run\.deadline_s \(60 s\), with 1 × 1 and 2 × 4 GPUs needed.*lower learner\.expert_parallel"
    ):
        reserved(wanting())
    assert (cluster.groups, cluster.asked) == ([], 0)


def test_two_jobs_that_take_each_others_half_both_let_go_and_both_get_all_in_turn(
    cluster: ToyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see a free cluster at once, and each gets a part of it before the other's groups are made."""
    config, tries = wanting(2, 12, group=4), count()
    whole = cluster.pinned

    def with_a_rival(bundles: list[Bundle], nodes: list[str]) -> Any:
        if next(tries) == 1:  # after the first of our groups
            cluster.busy = {node: {"GPU": 3.0} for node in cluster.nodes}
        return whole(bundles, nodes)

    held: list[int] = []

    def rival_lets_go(*_: object) -> None:
        held.append(len(cluster.groups))
        cluster.busy.clear()

    monkeypatch.setattr("cluster.actors.places.groups.pinned", with_a_rival)
    monkeypatch.setattr(placement, "pause", rival_lets_go)
    places = reserved(config)
    assert held == [0], "while it waits it holds nothing"
    assert len(cluster.groups) == 3
    places.give_back()
    assert cluster.groups == []


@pytest.mark.parametrize(
    ("engines", "busy", "expected"),
    [
        ({"min": 1, "max": 4}, 0.0, 4),
        ({"min": 1, "max": 99}, 0.0, 8),
        ({"min": 1, "max": 10**12}, 5.0, 3),
        ({"min": 2, "max": 2}, 0.0, 2),
        (3, 0.0, 3),
    ],
)
def test_a_range_starts_with_as_many_engines_as_find_room_now(cluster: ToyCluster, engines: Any, busy: float, expected: int) -> None:
    cluster.busy = {"b": {"GPU": busy}}
    places = reserved(wanting(engines, 8))
    assert (places.engines, len(places.nodes())) == (expected, expected + 8)
    assert len([group for group in cluster.groups if len(group.bundles) == 1]) == expected


def test_the_least_of_a_range_is_waited_for(cluster: ToyCluster) -> None:
    cluster.busy = {"b": {"GPU": 7.0}}
    with pytest.raises(TimeoutError, match="2 × 1 and 2 × 4 GPUs needed"):
        reserved(wanting({"min": 2, "max": 8}))


def test_the_least_of_a_range_that_can_never_fit_is_refused(cluster: ToyCluster) -> None:
    with pytest.raises(ValueError, match=r"rollout\.engines\.min \(9\) x 1 GPU .* cannot hold them: lower rollout\.engines\.min"):
        reserved(wanting({"min": 9, "max": 10}))


def opened(places: Places, *indices: int) -> list[bool]:
    async def work() -> list[bool]:
        return list(await asyncio.gather(*(places.open(index) for index in indices)))

    return asyncio.run(work())


def closed(places: Places, *indices: int) -> None:
    async def work() -> None:
        for index in indices:
            await places.close(index)

    asyncio.run(work())


def test_engines_come_and_go_each_with_its_own_group(cluster: ToyCluster) -> None:
    places = reserved(wanting(2, 8))
    assert (places.room(), places.most()) == (6, 8)
    assert opened(places, 2, 3) == [True, True]
    assert (places.room(), places.most()) == (4, 8)
    assert places.nodes()[:4] == ["b", "b", "b", "b"]
    assert [places.address_of(index) for index in range(5)] == ["10.0.0.b"] * 4 + [None]
    closed(places, 3, 2, 1, 1)
    assert (places.room(), places.nodes()[:1]) == (7, ["b"])
    with pytest.raises(KeyError):
        places.options(3, {})
    assert opened(places, 0) == [True]
    assert len(cluster.groups) == 2, "an engine whose node lives keeps its place"


def test_an_engine_of_a_dead_node_goes_to_another_that_fits_or_waits_for_one(cluster: ToyCluster) -> None:
    places = reserved(wanting(2, 8))
    del cluster.nodes["b"]
    assert opened(places, 0, 1) == [False, False]
    assert (places.room(), places.most()) == (0, 0)
    assert places.nodes() == ["a"] * 8
    cluster.nodes["c"] = {"CPU": 8.0, "GPU": 1.0}
    assert sorted(opened(places, 0, 1)) == [False, True]
    cluster.nodes["d"] = EIGHT
    assert opened(places, 0, 1) == [True, True]
    assert Counter(places.nodes()[:2]) == {"c": 1, "d": 1}


def test_a_place_that_another_job_takes_first_is_not_held(cluster: ToyCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    places = reserved(wanting(1, 8))
    monkeypatch.setattr(cluster, "place", lambda group: None)
    assert opened(places, 1) == [False]
    assert len(cluster.groups) == 2


def test_nothing_stays_reserved_that_was_opened_while_the_run_ended(cluster: ToyCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    places = reserved(wanting(1, 8))
    place = cluster.place

    def placed_after_the_end(group: Any) -> None:
        places.give_back()
        place(group)

    monkeypatch.setattr(cluster, "place", placed_after_the_end)
    assert opened(places, 1) == [False]
    assert cluster.groups == []


def renewed(places: Places) -> bool:
    return asyncio.run(places.renew_ranks())


def test_ranks_of_a_dead_node_move_together_and_are_numbered_anew(cluster: ToyCluster) -> None:
    cluster.nodes = {name: dict(FOUR) for name in "abcd"}
    places = reserved(wanting(2, 8, group=4))
    before = places.nodes()[2:]
    assert renewed(places)
    assert places.nodes()[2:] == before
    del cluster.nodes[before[0]]
    assert renewed(places)
    after = places.nodes()[2:]
    assert before[0] not in after
    assert after == sorted(after)
    for node in set(after):
        del cluster.nodes[node]
    assert not renewed(places)
    cluster.nodes |= {"e": dict(EIGHT)}
    assert renewed(places)
    assert places.nodes()[2:] == ["e"] * 8


class Pending:
    """A placement group that Ray places at the given wait."""

    def __init__(self, placed_at: int) -> None:
        self.placed_at, self.waits = placed_at, []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self.placed_at


@pytest.mark.parametrize("placed_at", [1, 2, 3])
def test_shared_places_are_one_group_that_ray_places_whole_until_the_deadline(
    cluster: ToyCluster, monkeypatch: pytest.MonkeyPatch, placed_at: int
) -> None:
    group, said, gone = Pending(placed_at), [], []
    monkeypatch.setattr(placement, "placement_group", lambda bundles, strategy: group)
    monkeypatch.setattr(placement, "share_places", lambda config, group, gpu: group)
    monkeypatch.setattr("cluster.actors.places.groups.remove", gone.extend)
    config = run_config(Path("run"), run={"deadline_s": 60}, rollout={"engines": 2}, learner={"ranks": 2}, placement={"share": True})
    if placed_at == 3:
        with pytest.raises(TimeoutError, match=r"within run\.deadline_s \(60 s\)"):
            reserve(config, said.append)
    else:
        assert reserve(config, said.append) is group
    assert group.waits == [placement.PATIENCE_S, 60 - placement.PATIENCE_S][:placed_at]
    assert (len(said), len(gone)) == (int(placed_at > 1), int(placed_at == 3))


def test_a_run_that_is_stopped_waits_for_nobody(cluster: ToyCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cluster.installed(monkeypatch)
    monkeypatch.setattr(placement, "cluster_nodes", lambda: list(cluster.nodes.values()))
    cluster.busy = {"a": {"GPU": 8.0}}
    ended: list[BaseException] = []

    def reserve_and_tell(*given: Any) -> None:
        try:
            reserve(*given)
        except InterruptedError as error:
            ended.append(error)
            raise

    async def work() -> None:
        waiting = asyncio.create_task(placement.reserve_places(wanting(8), [].append))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    monkeypatch.setattr(placement, "reserve", reserve_and_tell)
    asyncio.run(work())  # which waits for its threads
    assert len(ended) == 1
