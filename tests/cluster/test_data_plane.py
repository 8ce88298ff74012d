"""A learner node fetches the responses of its own ranks, and recorded experts only where they are used."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plane import EXPERTS, ToyRank, model_of, planned, random_groups
from cluster.actors.learners import Learners
from configs.loader import load
from configs.schema import Config

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_no_learner_node_of_a_recipe_fetches_much_more_than_its_rows_need(path: Path) -> None:
    found = planned(load(path), model_of(path))
    assert max(found.ratios) <= 1.1
    assert min(found.needed) > 0
    assert len(found.ratios) == 1 or max(found.whole_ratios) > 1.1, "whole groups would be too much"


def hands(*overrides: str) -> list[ToyRank]:
    """What the ranks of a small step fetch."""
    import numpy as np

    recipe = next(path for path in RECIPES if path.stem == "tiny_cpu")
    config: Config = load(recipe, ["learner.ranks=4", "rollout.groups_per_step=8", "learner.updates_per_step=1", *overrides])
    ranks: list[Any] = [ToyRank(config) for _ in range(4)]
    asyncio.run(Learners(config, ranks, share=lambda shared: shared).step(list(random_groups(config, np.random.default_rng(0)))))
    return ranks


def test_every_response_goes_to_one_rank_and_its_experts_only_where_they_are_used() -> None:
    plain, replayed = hands(), hands("rollout.capture_routing=true", "learner.routing=replay_rollout")
    assert sum(len(rank.fetched) for rank in plain) == len(set.union(*(rank.fetched for rank in plain))) == 64
    assert not any(kind == EXPERTS for rank in plain for kind, *_ in rank.fetched)
    assert all(sum(kind == EXPERTS for kind, *_ in rank.fetched) * 2 == len(rank.fetched) for rank in replayed)
    compared = hands("rollout.capture_routing=true")
    assert [rank.fetched for rank in compared] == [rank.fetched for rank in replayed], "without a sample all are compared"
    drawn = hands("rollout.capture_routing=true", "mismatch.share=0.1")
    assert {sum(kind == EXPERTS for kind, *_ in rank.fetched) for rank in drawn} == {2}
