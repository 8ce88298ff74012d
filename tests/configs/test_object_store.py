"""What a run needs of Ray's object store, and what is said where a node's is too small."""

from pathlib import Path

import pytest

from cluster.actors.nodes import object_store
from cluster.commands.checks import machine
from cluster.commands.checks.findings import Findings
from configs.errors import InputError
from configs.loader import load
from configs.object_store import describe_object_store, shortage, store_need
from tests.configs.test_configs import config_with

DAPO = Path(__file__).parents[2] / "configs" / "qwen3_30b_a3b_dapo.toml"
MODEL = {"model_type": "qwen3_moe", "num_hidden_layers": 48, "num_experts": 128, "num_experts_per_tok": 8}
RESPONSE = 20480 * 8 + 22528 * 48 * 8
SMALL = ("rollout.engines=2", "rollout.group_size=8", "rollout.groups_per_step=64", "rollout.max_response_tokens=1000", "learner.ranks=4")
NODES = {
    name: {"NodeID": name, "NodeManagerAddress": f"10.0.0.{place}", "Alive": True, "Resources": {"object_store_memory": store}}
    for place, (name, store) in enumerate({"big": 1e9, "small": 1e6, "tiny": 10_000.0}.items())
}


def test_the_need_of_a_recipe_is_its_responses_in_flight_and_the_rows_of_its_ranks() -> None:
    need = store_need(load(DAPO), MODEL)
    assert need.response == RESPONSE
    assert need.engine == 2 * 512 * 16 / 8 * RESPONSE
    assert need.rank == 512 * 16 / 32 * RESPONSE
    assert need.of(2, 8) == 2 * need.engine + 8 * need.rank
    assert need.driver == 2 * 512 * 16 * 100 * 1024
    (line,) = describe_object_store(load(DAPO), MODEL)
    assert "up to 18.1 GB for each engine (responses in flight) and 2.26 GB for each rank" in line


def test_the_fewest_engines_of_a_range_need_most_each() -> None:
    fewest, six = load(DAPO, ["rollout.engines={min=2,max=6}"]), load(DAPO, ["rollout.engines=6"])
    assert store_need(fewest, MODEL) == store_need(load(DAPO, ["rollout.engines=2"]), MODEL)
    assert store_need(fewest, MODEL, 6) == store_need(six, MODEL)


def test_a_rank_needs_recorded_experts_only_where_it_uses_them() -> None:
    sampled = store_need(load(DAPO, ["learner.routing=live", "learner.missing_routing=live"]), MODEL)
    assert sampled.rank == pytest.approx(512 * 16 / 32 * (20480 * 8 + 0.02 * 22528 * 48 * 8))
    assert sampled.engine == store_need(load(DAPO), MODEL).engine
    assert store_need(load(DAPO), {}).response == 20480 * 8, "a model whose experts are not known"
    assert store_need(load(DAPO, ["rollout.capture_routing=false", "learner.routing=live"]), MODEL).response == 20480 * 8


def test_a_store_that_may_become_full_is_a_warning_and_a_hopeless_one_a_refusal() -> None:
    config = config_with(*SMALL)
    need = store_need(config, {})
    whole = 64 * 8 * 8000.0  # of the engines, and of the ranks
    assert need.of(2, 4) == 2 * whole
    assert shortage(config, need, 2, 4, 2 * whole / 0.8, "here") is None
    short = shortage(config, need, 2, 4, 0.2 * 2 * whole / 0.8, "node 10.0.0.1")
    assert short is not None
    assert not short.hopeless
    assert short.text.startswith("Ray's object store on node 10.0.0.1 has 2.05 MB; its 2 engines and 4 learner ranks need up to 10.2 MB")
    assert "at most 200 of 1000 tokens on average" in short.text
    assert "capture_routing" not in short.text
    hopeless = shortage(config, need, 2, 4, 0.01 * 2 * whole, "here")
    assert hopeless is not None
    assert hopeless.hopeless
    assert "Responses of 2% of that length would fill it too: raise it" in hopeless.text


@pytest.mark.parametrize(("store", "problems", "warnings"), [(10**9, 0, 0), (10**6, 0, 1), (10**4, 1, 0)])
def test_validate_compares_it_with_the_store_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, store: int, problems: int, warnings: int
) -> None:
    monkeypatch.setattr(machine, "local_store", lambda: store)
    found = Findings()
    machine.check_store(config_with(*SMALL), {}, found)
    assert (len(found.problems), len(found.warnings)) == (problems, warnings)


def test_a_start_compares_it_with_the_store_of_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store.ray, "nodes", lambda: list(NODES.values()))
    config, said = config_with(*SMALL), list[str]()
    object_store.refuse_small_stores(config, ["big"] * 6, said.append)
    assert said == []
    object_store.refuse_small_stores(config, ["small", "small", "big", "big", "small", "gone"], said.append)
    assert len(said) == 1
    assert "on node 10.0.0.1 has 1 MB; its 2 engines and 1 learner rank need" in said[0]
    with pytest.raises(InputError, match=r"on node 10\.0\.0\.2 has 10 kB; its 4 learner ranks need"):
        object_store.refuse_small_stores(config, ["big", "big", *["tiny"] * 4], said.append)


def test_the_store_of_a_local_ray_is_a_share_of_the_memory() -> None:
    assert 10**8 < object_store.local_store() <= 200 * 10**9
