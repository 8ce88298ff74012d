"""Bundles of engines and ranks on the same GPUs: their arithmetic, and what Ray gives to actors on a node that declares GPUs."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.placement_group import placement_group

from cluster.actors.places import device
from cluster.actors.places.bundles import Bundle, layouts
from cluster.actors.places.device import Builds
from cluster.actors.places.fit import refuse_what_cannot_fit
from cluster.actors.places.shared import SharedPlaces, share_places
from configs.schema import Config
from tests.toys.run import run_config


def sharing(engines: int, tensor: int = 1, *, cpus: float = 1, rank_cpus: float = 1) -> Config:
    return run_config(
        Path("run"),
        run={"deadline_s": 60},
        rollout={"engines": engines, "cpus_per_engine": cpus, "vllm": {"tensor_parallel_size": tensor}},
        learner={"ranks": engines * tensor, "cpus_per_rank": rank_cpus},
        placement={"share": True},
    )


def reserved(config: Config, gpu: bool) -> list[Bundle]:
    (layout,) = layouts(config, gpu)
    return layout.bundles


def test_a_bundle_has_the_gpus_of_an_engine_and_the_cores_of_the_side_that_needs_more() -> None:
    assert reserved(sharing(2, 4, cpus=3, rank_cpus=1), gpu=True) == [{"CPU": 4.0, "GPU": 4.0}] * 2
    assert reserved(sharing(1, cpus=6, rank_cpus=2), gpu=True) == [{"CPU": 6.0, "GPU": 1.0}]
    assert reserved(sharing(1), gpu=False) == [{"CPU": 1.0}], "one core's worth of engine and rank"


def test_what_fits_only_by_sharing_is_let_through_and_the_rest_is_refused_with_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_what_cannot_fit(sharing(2, cpus=1, rank_cpus=1), [{"CPU": 2.0}])
    said = r"\(2\) x 3 CPU \(the larger of rollout.cpus_per_engine \(1\) and 1 rank x learner.cpus_per_rank \(3\)\) = 6 CPUs are needed"
    with pytest.raises(ValueError, match=said):
        refuse_what_cannot_fit(sharing(2, rank_cpus=3), [{"CPU": 4.0}])
    monkeypatch.setattr(device, "installed", lambda: Builds("2.13.0", "13.0", "cuda"))
    refuse_what_cannot_fit(sharing(1, 8), [{"CPU": 16.0, "GPU": 8.0}])
    with pytest.raises(ValueError, match=r"rollout.engines \(2\) x 4 GPU = 8 GPUs are needed, but 1 node with 4 GPUs"):
        refuse_what_cannot_fit(sharing(2, 4), [{"CPU": 64.0, "GPU": 4.0}])


def test_no_allocator_setting_of_the_users_reaches_processes_that_share_a_gpu() -> None:
    group: Any = None
    users = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    places = SharedPlaces(group, [0], 2, [["3", "5"]], [])
    given = [(places.options(0, users), "3,5"), (places.rank_options(0, users), "3"), (places.rank_options(1, users), "5")]
    for options, gpus in given:
        env = options["runtime_env"]["env_vars"]
        assert env["CUDA_VISIBLE_DEVICES"] == gpus
        assert {env[name] for name in users} == {"expandable_segments:False,pinned_max_round_threshold_mb:64"}


class Looker:
    """Says which GPUs its process sees."""

    def sees(self) -> tuple[str, str, list[Any]]:
        return ray.get_runtime_context().get_node_id(), os.environ["CUDA_VISIBLE_DEVICES"], ray.get_gpu_ids()


@pytest.fixture(scope="module")
def four_gpus() -> Iterator[None]:
    """A Ray that is told of four GPUs."""
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=4,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=80 << 20,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.mark.end_to_end
def test_an_engine_sees_its_gpus_and_each_rank_beside_it_one_of_them(four_gpus: None) -> None:
    engines, tensor = 2, 2
    config = sharing(engines, tensor)
    group = placement_group(reserved(config, gpu=True), strategy="PACK")
    ray.get(group.ready(), timeout=60)
    places = share_places(config, group, gpu=True)
    kind: Any = ray.remote(Looker)
    options = [places.options(engine, {"A": "B"}) for engine in range(engines)]
    options += [places.rank_options(rank, {"A": "B"}) for rank in range(engines * tensor)]
    actors = [kind.options(**each).remote() for each in options]
    try:
        seen = ray.get([actor.sees.remote() for actor in actors], timeout=60)
        assert [node for node, _, _ in seen] == places.nodes()
        mine = [gpus.split(",") for _, gpus, _ in seen]
        assert sorted(gpu for gpus in mine[:engines] for gpu in gpus) == [str(gpu) for gpu in range(4)], "no GPU is given twice"
        assert mine[engines:] == [[gpu] for gpus in mine[:engines] for gpu in gpus]
        assert ray.available_resources().get("GPU", 0) == 0, "nobody else may come onto these GPUs"
    finally:
        for actor in actors:
            ray.kill(actor)
        places.give_back()
