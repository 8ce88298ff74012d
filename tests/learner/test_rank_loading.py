"""Two ranks that load a model together: who reads, how much each holds meanwhile, and what is loaded in the end."""

from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from configs.families import FAMILIES
from tests.conftest import RankResults
from tests.toys.ranks import LAYERS

pytestmark = pytest.mark.end_to_end

Results = dict[tuple[str, int], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> Any:
    return ranks.of("loading")


@pytest.fixture(scope="module")
def model(ranks: RankResults) -> Any:
    return AutoModelForCausalLM.from_pretrained(ranks.folder / "deep", dtype=torch.float32)


def test_every_tensor_on_disk_is_read_by_one_rank_and_both_read(ranks: RankResults, results: Results) -> None:
    with safe_open(ranks.folder / "deep" / "model.safetensors", framework="pt") as file:
        names = sorted(file.keys())
    for key, (first, second) in results.items():
        assert sorted(first["read"] + second["read"]) == names, key
        assert min(len(first["read"]), len(second["read"])) > len(names) / 3, key


def test_no_rank_of_zero_3_holds_more_than_its_shard_and_two_layers(results: Results, model: Any) -> None:
    layer = sum(parameter.nbytes for parameter in model.get_submodule("model.layers.0").parameters())
    whole = sum(parameter.nbytes for parameter in model.parameters())
    for name in ("zero3", "experts3"):
        for rank in results[name, 2]:
            assert rank["shard"] < rank["most"] <= rank["shard"] + 2 * layer < whole, name


def test_the_ranks_load_what_transformers_loads_alone(results: Results, model: Any) -> None:
    for key, found in results.items():
        for rank in found if key != ("half3", 2) else []:
            assert list(rank["weights"]) == list(dict(model.named_parameters())), key
            assert all(torch.equal(rank["weights"][name], parameter) for name, parameter in model.named_parameters()), key


def test_the_rotary_frequencies_are_not_rounded_in_bfloat16(ranks: RankResults, results: Results) -> None:
    alone = dict(AutoModelForCausalLM.from_pretrained(ranks.folder / "deep", dtype=torch.bfloat16).named_buffers())
    assert "model.rotary_emb.inv_freq" in alone
    for rank in results["half3", 2]:
        assert all(torch.equal(rank["buffers"][name], buffer) and buffer.dtype == torch.float32 for name, buffer in alone.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_loaded_in_shards_as_transformers_loads_it_alone(ranks: RankResults, results: Results, family: str) -> None:
    alone = AutoModelForCausalLM.from_pretrained(ranks.folder / "families" / family, dtype=torch.float32).state_dict()
    for rank in results["zero3", 2]:
        loaded = rank["families"][family]
        assert list(loaded) == list(alone)
        assert all(torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in alone.items())


def test_the_experts_that_a_rank_gives_away_are_freed_block_by_block(results: Results) -> None:
    for name in ("experts2", "experts3"):
        for rank in results[name, 2]:
            assert rank["alive"] == [2 * left for left in range(LAYERS, 0, -1)], name
