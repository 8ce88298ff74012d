from pathlib import Path

import pytest

from cluster.actors.places import device
from cluster.actors.places.bundles import Bundle, layouts
from cluster.actors.places.fit import engines_at_start, refuse_what_cannot_fit, room_for
from cluster.actors.places.plan import fits, planned, room_for_engines
from cluster.commands.checks import machine
from cluster.commands.doctor.checks.places import describe_engines
from configs.schema import Config
from tests.toys.run import run_config

EIGHT_GPUS: Bundle = {"CPU": 64.0, "GPU": 8.0}
FOUR_GPUS: Bundle = {"CPU": 32.0, "GPU": 4.0}


@pytest.fixture(autouse=True)
def packages_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "installed", lambda: device.Builds("2.13.0", "13.0", None))


def sized(engines: int, ranks: int, *, tensor_parallel: int = 1, cpus: float = 1, rank_cpus: float = 1) -> Config:
    return run_config(
        Path("run"),
        rollout={"engines": engines, "cpus_per_engine": cpus, "vllm": {"tensor_parallel_size": tensor_parallel}},
        learner={"ranks": ranks, "cpus_per_rank": rank_cpus},
    )


def test_there_is_a_bundle_for_every_engine_and_then_for_every_rank():
    (layout,) = layouts(sized(2, 1, tensor_parallel=4, cpus=3), gpu=True)
    assert layout.bundles == layout.needs == [{"CPU": 3.0, "GPU": 4.0}, {"CPU": 3.0, "GPU": 4.0}, {"CPU": 1.0, "GPU": 1.0}]
    (layout,) = layouts(sized(1, 1, tensor_parallel=4), gpu=False)
    assert layout.bundles == [{"CPU": 1.0}, {"CPU": 1.0}]
    assert layout.homes == [0, 1]


def spread(engines: int, ranks: int, size: int, *, tensor_parallel: int = 1, rank_cpus: float = 1) -> Config:
    return run_config(
        Path("run"),
        rollout={"engines": engines, "cpus_per_engine": 1, "vllm": {"tensor_parallel_size": tensor_parallel}},
        learner={
            "ranks": ranks,
            "cpus_per_rank": rank_cpus,
            "expert_parallel": size,
            "deepspeed": {"zero_optimization": {"stage": 2}},
        },
    )


@pytest.mark.parametrize(
    ("config", "nodes", "sizes"),
    [
        (spread(4, 64, 8, tensor_parallel=8), [EIGHT_GPUS] * 12, [8] * 8),
        (spread(5, 8, 8), [EIGHT_GPUS] * 2, [8]),
        (spread(5, 6, 2, tensor_parallel=2), [EIGHT_GPUS] * 2, [2] * 3),
        (spread(5, 11, 1), [EIGHT_GPUS] * 2, [1] * 11),
        (spread(1, 16, 16), [EIGHT_GPUS] * 3, [8] * 2),  # a group larger than a node
        (spread(1, 12, 4), [EIGHT_GPUS] * 2, [4] * 3),
        (spread(2, 10, 10), [EIGHT_GPUS, FOUR_GPUS], [2] * 5),
        (spread(1, 16, 8, tensor_parallel=4), [EIGHT_GPUS, FOUR_GPUS, {"CPU": 8.0, "GPU": 6.0}, {"CPU": 8.0, "GPU": 2.0}], [8, *[2] * 4]),
        (spread(1, 15, 5), [EIGHT_GPUS] * 2, [5, 5, *[1] * 5]),
        (spread(1, 12, 4), [{"CPU": 64.0, "GPU": 6.0}] * 3, [4] * 3),
        (spread(1, 11, 11), [{"CPU": 64.0, "GPU": 6.0}] * 2, [1] * 11),
        (spread(1, 12, 4, rank_cpus=3), [{"CPU": 10.0, "GPU": 8.0}] * 8, [2] * 6),  # cores leave no room for four
    ],
)
def test_bundles_hold_as_much_of_an_expert_group_as_the_nodes_have_room_for(config: Config, nodes: list[Bundle], sizes: list[int]):
    layout = room_for(config, nodes)
    assert [bundle["GPU"] for bundle in layout.bundles[layout.engines :]] == sizes
    taken = [0.0] * len(layout.bundles)
    for home, need in zip(layout.homes, layout.needs, strict=True):
        taken[home] += need["GPU"]
    assert taken == [bundle["GPU"] for bundle in layout.bundles]
    placed = [f"node {home % 3}" for home in range(len(layout.bundles))]
    assert sorted(layout.numbered(placed).homes) == sorted(layout.homes)


def test_fractions_of_cores_add_up_in_a_bundle():
    config = spread(1, 3, 3, rank_cpus=0.1)
    assert room_for(config, [{"CPU": 1.3}]).bundles == [{"CPU": 1.0}, {"CPU": 0.3}]


@pytest.mark.parametrize(
    ("config", "nodes"),
    [
        (sized(1, 1), [{"CPU": 2.0}]),
        (sized(1, 1), [{"CPU": 1.0}, {"CPU": 1.0}]),
        (sized(4, 4), [EIGHT_GPUS]),
        (sized(1, 8, tensor_parallel=8), [EIGHT_GPUS, EIGHT_GPUS]),
        (sized(3, 4, tensor_parallel=4), [FOUR_GPUS, EIGHT_GPUS, FOUR_GPUS]),
        (sized(2, 2, tensor_parallel=2), [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 6.0}]),
        (sized(3, 7, cpus=0.1, rank_cpus=0.1), [{"CPU": 1.0}]),
    ],
)
def test_what_fits_is_let_through(config: Config, nodes: list[Bundle]):
    refuse_what_cannot_fit(config, nodes)


def test_an_engine_goes_where_it_leaves_least_room_so_that_others_still_fit():
    refuse_what_cannot_fit(sized(1, 2, cpus=3, rank_cpus=2), [{"CPU": 4.0}, {"CPU": 3.0}])


def test_looking_for_room_takes_none_of_it():
    nodes = [dict(EIGHT_GPUS)]
    assert fits([{"CPU": 64.0, "GPU": 8.0}], nodes)
    assert nodes == [EIGHT_GPUS]


@pytest.mark.parametrize(
    ("config", "nodes", "said"),
    [
        (
            sized(2, 1),
            [{"CPU": 2.0}],
            "rollout.engines (2) x 1 CPU + learner.ranks (1) x 1 CPU = 3 CPUs are needed, but 1 node with 2 CPUs in all (2 each)",
        ),
        (
            sized(2, 5, tensor_parallel=2),
            [EIGHT_GPUS],
            "rollout.engines (2) x 2 GPU + learner.ranks (5) x 1 GPU = 9 GPUs are needed, but 1 node with 8 GPUs in all (8 each)",
        ),
        (
            sized(3, 1, cpus=0.5, rank_cpus=0.75),
            [{"CPU": 2.0}],
            "rollout.engines (3) x 0.5 CPU + learner.ranks (1) x 0.75 CPU = 2.25 CPUs are needed, but 1 node with 2 CPUs",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_the_arithmetic(config: Config, nodes: list[Bundle], said: str):
    with pytest.raises(ValueError, match=r"cannot hold them: lower rollout\.engines or learner\.ranks") as refused:
        refuse_what_cannot_fit(config, nodes)
    assert said in str(refused.value)


def test_gpus_that_are_enough_for_engines_alone_may_be_shared():
    with pytest.raises(ValueError, match=r"1 GPU in all .*take turns .*placement\.share = true, with learner\.ranks = 1"):
        refuse_what_cannot_fit(sized(1, 1), [{"CPU": 8.0, "GPU": 1.0}])
    with pytest.raises(ValueError, match="8 GPUs in all") as refused:
        refuse_what_cannot_fit(sized(3, 1, tensor_parallel=4), [EIGHT_GPUS])
    assert "placement.share" not in str(refused.value)


def test_an_engine_of_eight_gpus_does_not_fit_two_nodes_of_four():
    with pytest.raises(ValueError, match=r"rollout.engines \(1\) x 8 GPU") as refused:
        refuse_what_cannot_fit(sized(1, 1, tensor_parallel=8), [FOUR_GPUS, FOUR_GPUS, FOUR_GPUS])
    assert "3 nodes with 12 GPUs in all (4, 4, 4 each)" in str(refused.value)
    assert "rollout.vllm.tensor_parallel_size" in str(refused.value)
    with pytest.raises(ValueError, match=r"= 2 GPUs are needed, but 1 node with 1 GPU .*placement\.share = true"):
        refuse_what_cannot_fit(sized(1, 1), [{"CPU": 8.0, "GPU": 1.0}])


def test_where_cores_are_what_lacks_on_gpu_nodes_cores_are_counted():
    with pytest.raises(
        ValueError, match=r"engines \(4\) x 20 CPU \+ learner.ranks \(1\) x 1 CPU = 81 CPUs are needed.* 64 CPUs"
    ) as refused:
        refuse_what_cannot_fit(sized(4, 1, cpus=20), [EIGHT_GPUS])
    assert "rollout.cpus_per_engine" in str(refused.value)


def test_engines_that_spread_experts_are_refused_on_cpus() -> None:
    experts = Config.model_validate(
        {
            "model": {"path": "model"},
            "data": {"train": "train.jsonl"},
            "rollout": {"vllm": {"tensor_parallel_size": 2, "enable_expert_parallel": True}},
        }
    )
    with pytest.raises(ValueError, match=r"enable_expert_parallel got true with rollout\.vllm\.tensor_parallel_size"):
        refuse_what_cannot_fit(experts, [{"CPU": 8.0}])
    refuse_what_cannot_fit(experts, [{"CPU": 8.0, "GPU": 8.0}])
    refuse_what_cannot_fit(sized(1, 1, tensor_parallel=2), [{"CPU": 8.0}])


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("enable_chunked_prefill", True, "got true .* remove it"),
        ("long_prefill_token_threshold", 512, "got 512 .* use 0"),
        ("max_num_batched_tokens", 16, "got 16 .* at least 24 .* use 24"),
        ("max_num_batched_tokens", "many", "got 'many' .* at least 24"),
        ("max_num_scheduled_tokens", 4, "got 4 .* at least 24 .* use 24"),
        ("max_num_scheduled_tokens", -1, "got -1 .* at least 24"),
    ],
)
def test_what_would_split_a_prompt_is_refused_on_cpus(key: str, value: object, said: str) -> None:
    config = run_config(Path("run"), rollout={"group_size": 4, "vllm": {key: value}})
    with pytest.raises(ValueError, match=rf"rollout\.vllm\.{key} {said}"):
        refuse_what_cannot_fit(config, [{"CPU": 8.0}])
    refuse_what_cannot_fit(config, [{"CPU": 8.0, "GPU": 8.0}])


def test_a_batch_as_large_as_the_context_is_enough_on_cpus() -> None:
    refuse_what_cannot_fit(run_config(Path("run"), rollout={"vllm": {"max_num_batched_tokens": 1040}}), [{"CPU": 8.0}])


def test_an_engine_may_have_a_larger_context_than_the_run_needs_on_cpus() -> None:
    longer = {"group_size": 4, "vllm": {"max_model_len": 32}}
    refuse_what_cannot_fit(run_config(Path("run"), rollout=longer), [{"CPU": 8.0}])
    longer["vllm"]["max_num_batched_tokens"] = 24
    with pytest.raises(ValueError, match=r"max_num_batched_tokens got 24 .* at least 32"):
        refuse_what_cannot_fit(run_config(Path("run"), rollout=longer), [{"CPU": 8.0}])


@pytest.mark.parametrize(
    ("engines", "nodes", "started"),
    [
        (3, [EIGHT_GPUS], 3),
        ({"min": 1, "max": 3}, [EIGHT_GPUS], 3),
        ({"min": 1, "max": 30}, [EIGHT_GPUS], 7),
        ({"min": 2, "max": 10**15}, [EIGHT_GPUS, FOUR_GPUS], 11),
        ({"min": 9, "max": 10}, [EIGHT_GPUS], 9),  # which is then refused
    ],
)
def test_the_engines_at_the_start_are_as_many_as_fit_in_their_range(engines: object, nodes: list[Bundle], started: int) -> None:
    config = run_config(Path("run"), rollout={"engines": engines}, learner={"ranks": 1})
    assert engines_at_start(config, nodes) == started


@pytest.mark.parametrize(
    ("wanted", "free", "homes"),
    [
        ([4, 4, 8], {"a": 8, "b": 8}, ["b", "b", "a"]),
        ([2, 2, 2, 4], {"a": 4, "b": 4, "c": 3}, ["b", "b", "c", "a"]),
        ([1, 1], {"a": 1, "b": 8}, ["b", "b"]),  # near each other, on the emptiest node
        ([2, 2, 2, 6], {"a": 8, "b": 4}, ["a", "b", "b", "a"]),
        ([3, 3, 2, 2, 2], {"a": 6, "b": 6}, ["a", "a", "b", "b", "b"]),
        ([5], {"a": 4, "b": 4}, None),
        ([], {"a": 4}, []),
    ],
)
def test_bundles_are_packed_on_few_nodes(wanted: list[float], free: dict[str, float], homes: list[str] | None) -> None:
    found = planned([{"GPU": float(size)} for size in wanted], {node: {"GPU": float(size)} for node, size in free.items()})
    assert (None if found is None else list(found)) == homes


def test_bundles_that_packing_leaves_without_a_node_are_placed_tightly() -> None:
    wanted = [{"GPU": 4.0}, {"GPU": 2.0}, {"GPU": 2.0}, {"GPU": 6.0}]
    free = {"a": {"GPU": 10.0}, "b": {"GPU": 4.0}}
    assert planned(wanted, free) is not None
    assert room_for_engines({"GPU": 4.0, "CPU": 0.3}, {"a": {"GPU": 9.0, "CPU": 0.9}, "b": {"GPU": 3.0, "CPU": 9.0}, "c": {}}) == 2


def test_places_are_described_with_the_range_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(machine, "this_machine", lambda: [{"CPU": 4.0, "GPU": 0.0}])
    config = run_config(Path("run"), rollout={"engines": {"min": 1, "max": 8}, "cpus_per_engine": 1}, learner={"ranks": 1})
    assert "engines 3 (1 to 8 allowed) on 1 CPU each" in machine.describe_places(config)
    assert describe_engines(config, elsewhere=True) == "1 to 8"
