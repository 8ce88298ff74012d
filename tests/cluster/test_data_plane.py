"""A learner node fetches the responses of its own ranks, and recorded experts only where they are used."""

import asyncio
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.plane import EXPERTS, ToyRank, model_of, planned, random_groups
from cluster.actors.learner_actor import ObjectStore
from cluster.actors.learners import Learners
from configs.loader import load
from configs.schema import Config
from learner.batch.fetched import Fetched
from learner.batch.plan import plan_for
from rollout.types import GroupSummary, Sampled, SampledGroup
from rollout.window.scored import References, Scored
from tests.toys.holes import with_episodes
from tests.toys.learner import toy_group

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_no_learner_node_of_a_recipe_fetches_much_more_than_its_rows_need(path: Path) -> None:
    found = planned(load(path), model_of(path))
    assert max(found.ratios) <= 1.1
    assert min(found.needed) > 0
    together = path.stem == "qwen3_30b_a3b_grpo"  # its prompts are worth it: each group goes to one rank
    assert len(found.ratios) == 1 or together or max(found.whole_ratios) > 1.1, "whole groups would be too much"


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


def test_a_group_that_is_one_object_is_fetched_once_and_taken_apart() -> None:
    groups = [SampledGroup(tuple(map(Sampled.of, toy_group(seed, members=3).responses))) for seed in range(2)]
    alone = Sampled.of(toy_group(5, members=1).responses[0])
    references: dict[Any, Any] = {(g, m): groups[g] for g in range(2) for m in (2, 0)} | {(2, 0): alone}
    asked: list[int] = []

    def get(some: Any) -> list[Any]:
        asked.append(len(some))
        return list(some)

    store = ObjectStore((), pickle.loads(pickle.dumps(references)), {}, get)
    found = store.sampled([(1, 0), (0, 2), (2, 0), (1, 2), (0, 0)])
    wanted = [groups[1].responses[0], groups[0].responses[2], alone, groups[1].responses[2], groups[0].responses[0]]
    assert [one.token_ids.tolist() for one in found] == [one.token_ids.tolist() for one in wanted]
    assert asked == [3]


@pytest.mark.parametrize(("nodes", "on_one_node"), [(["a", "a"], True), (["a", "b"], False), (["a"], True)])
def test_the_nodes_of_the_ranks_are_known_from_their_start(nodes: list[str], on_one_node: bool) -> None:
    async def said(what: Any) -> Any:
        return what

    def rank(node: str) -> Any:
        methods = {"address": lambda: said(("10.0.0.1", 1)), "start": lambda *_: said(node)}
        return SimpleNamespace(**{name: SimpleNamespace(remote=method) for name, method in methods.items()})

    learners = Learners(load(RECIPES[0]), [rank(node) for node in nodes], share=lambda shared: shared)
    assert not learners.on_one_node, "before they have started nobody knows"
    assert asyncio.run(learners.start()) == nodes
    assert learners.on_one_node is on_one_node


class SegmentRank:
    """A rank that looks at the rows of its plan as a learner does, and keeps what each is made of."""

    def __init__(self, config: Config, number: int) -> None:
        self.config, self.number, self.step = config, number, self
        self.rows: dict[Any, list[Any]] = {}
        self.asked: list[int] = []

    async def remote(self, shared: Any, tokens: Any, recorded: Any) -> dict[str, float]:
        summaries, prompts = shared
        rows = plan_for(self.config, self.config.whole_objective.preset, self.config.learner.ranks, summaries).rows_of_rank(self.number)
        assert set(tokens) == set(recorded) == {row.place for row in rows}, "a response is dealt once, whatever its segments"

        def get(references: Any) -> list[Any]:
            self.asked.append(len(references))
            return list(references)

        fetched = Fetched(ObjectStore(prompts, tokens, recorded, get), rows)
        fetched.fetch_experts(rows)
        for row in rows:
            self.rows[row.name] = [fetched.prompt(row).tolist(), fetched.response(row).token_ids.tolist(), fetched.experts(row)]
        assert self.asked == [len(tokens)] * 2
        return {}


def test_the_segments_of_an_episode_travel_within_its_response_to_the_ranks_that_learn_them() -> None:
    config = load(next(path for path in RECIPES if path.stem == "tiny_cpu"), ["learner.ranks=2", "rollout.capture_routing=true"])
    groups = [with_episodes(toy_group(seed, members=5), seed) for seed in range(4)]
    scored = [
        Scored(
            summary=GroupSummary.of(group),
            texts=(),
            # The objects themselves in place of references, and for experts the number of their segment.
            tokens=References(
                tokens=[Sampled.of(response) for response in group.responses],  # type: ignore[misc]
                experts=[tuple(range(len(r.segments))) if r.later else 0 for r in group.responses],  # type: ignore[misc]
            ),
            engine=0,
            prompt=group.prompt,
        )
        for group in groups
    ]
    ranks = [SegmentRank(config, number) for number in range(2)]
    asyncio.run(Learners(config, ranks, share=lambda shared: shared).step(scored))
    learned = ranks[0].rows | ranks[1].rows
    assert len(learned) == len(ranks[0].rows) + len(ranks[1].rows)
    assert any(len(name) > 2 for name in learned)
    for (group, member, *later), (prompt, tokens, experts) in learned.items():
        segment = later[0] if later else 0
        part = groups[group].responses[member].segments[segment]
        assert prompt == (part.prompt_ids if segment else groups[group].prompt.token_ids).tolist()
        assert (tokens, experts) == (part.token_ids.tolist(), segment)
