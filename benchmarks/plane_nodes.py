"""A step's responses on a simulated Ray cluster: an engine's node and a learner's node, each with an object store of its own."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

from benchmarks.rounds import CONFIG, Row
from cluster.actors.engines import references
from cluster.actors.learner_actor import ObjectStore
from cluster.actors.learners import Learners, Shared
from configs.loader import load
from configs.schema import Config
from learner.batch.fetched import fetch
from learner.batch.plan import plan_for
from rollout.types import GroupSummary, Prompt, Sampled
from rollout.window.scored import Scored, unpacked

STORE_BYTES = 200_000_000
RANKS, GROUPS, MEMBERS = 2, 4, 8
PROMPT, SHORTEST, LONGEST = 16, 14_000, 28_000  # tokens; Ray keeps objects of shorter responses in the driver
RECORDED = 24  # bytes of a token's recorded experts
DEADLINE_S = 120.0
SETTLED_S = 20.0  # in which the owner of objects hears of their copies
LOOK_S = 0.5


class ToyEngine:
    """Returns the parts of a group as an engine does."""

    def respond(self, lengths: list[int]) -> tuple[Any, ...]:
        tokens = [
            Sampled(token_ids=np.ones(n, np.int32), logprobs=np.ones(n, np.float32), oldest_version=0, newest_version=0) for n in lengths
        ]
        return (None, *tokens, *(np.zeros((PROMPT + n - 1, RECORDED // 2, 2), np.uint8) for n in lengths))


class ToyRank:
    """Fetches as a learner does."""

    def __init__(self, config: Config, rank: int) -> None:
        self.config, self.rank = config, rank

    def step(self, shared: Shared, tokens: Any, recorded: Any) -> dict[str, float]:
        summaries, prompts = shared
        source = ObjectStore(prompts, unpacked(tokens), recorded, lambda found: ray.get(list(found), timeout=DEADLINE_S))
        plan = plan_for(self.config, self.config.whole_objective.preset, RANKS, unpacked(summaries))
        rows = plan.rows_of_rank(self.rank)
        fetched = fetch(self.config, source, rows)
        return {"tokens": float(sum(len(fetched.response(row)) for row in rows))}


@contextmanager
def two_nodes() -> Iterator[None]:
    """A cluster with a node for the driver and the engine, and a node for the ranks; it ends with the context."""
    cluster = Cluster()
    try:
        for node in ("engine", "learner"):
            cluster.add_node(num_cpus=1, resources={node: 100}, object_store_memory=STORE_BYTES, include_dashboard=False)
        ray.init(address=cluster.address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def config_of_ranks(replayed: bool) -> Config:
    """The tiny recipe with long responses and two ranks."""
    routing = ["learner.routing=replay_rollout"] if replayed else ["mismatch.share=0.1"]
    sizes = [
        f"learner.ranks={RANKS}",
        f"rollout.groups_per_step={GROUPS}",
        f"rollout.group_size={MEMBERS}",
        f"learner.micro_batch_tokens={2 * LONGEST}",
    ]
    return load(CONFIG, [*sizes, f"rollout.max_response_tokens={LONGEST}", "rollout.capture_routing=true", *routing])


async def fetched_over_needed(config: Config) -> dict[str, float]:
    """One step within `two_nodes`, its engine killed before the ranks fetch; bytes of objects on the learner's node, and what they hold."""
    engine: Any = ray.remote(ToyEngine).options(num_cpus=0, resources={"engine": 1}).remote()
    kind: Any = ray.remote(ToyRank)
    ranks = [kind.options(num_cpus=0, resources={"learner": 1}).remote(config, rank) for rank in range(RANKS)]
    random, groups = np.random.default_rng(0), []
    for group in range(GROUPS):
        lengths = random.integers(SHORTEST, LONGEST, MEMBERS)
        head, *parts = engine.respond.options(num_returns=1 + 2 * MEMBERS).remote(lengths.tolist())
        await head
        prompt = Prompt(prompt_id=str(group), token_ids=np.zeros(PROMPT, np.int32), reference="", checker="exact")
        groups.append(Scored(summary=summary_of(group, lengths), texts=(), tokens=references(parts, MEMBERS), engine=0, prompt=prompt))
    ray.kill(engine)
    stats = await Learners(config, ranks).step(groups)
    there = next(node["NodeID"] for node in ray.nodes() if "learner" in node["Resources"])
    made: list[Any] = [part for scored in groups for part in (*scored.learnable.tokens, *scored.learnable.experts)]
    lengths = np.concatenate([scored.summary.lengths for scored in groups])
    replayed = config.learner.routing == "replay_rollout"
    needed = float(lengths.sum() * 8 + ((PROMPT - 1 + lengths).sum() * RECORDED if replayed else 0))
    return {"fetched": await bytes_on(there, made, needed), "needed": needed, "share of rank 0": stats["tokens"] / float(lengths.sum())}


async def bytes_on(node: str, made: list[Any], needed: float) -> float:
    """The bytes of objects that a node has, as their owner knows: Ray tells it of a copy a moment after the copy was read."""
    deadline, before = time.monotonic() + SETTLED_S, -1.0
    while True:
        places = ray.experimental.get_object_locations(made)
        now = float(sum(found["object_size"] for found in places.values() if node in found["node_ids"]))
        if (now == before and now >= needed) or time.monotonic() > deadline:
            return now
        before = now
        await asyncio.sleep(LOOK_S)


def measured() -> list[Row]:
    """The ratio with and without replay."""
    sides = {name: config_of_ranks(name == "replayed") for name in ("replayed", "sampled")}
    with two_nodes():
        found = {name: asyncio.run(fetched_over_needed(config)) for name, config in sides.items()}
    what = "two simulated nodes, engine killed: fetched / needed, experts"
    return [Row(what=f"{what} {name}", unit="x", values=[one["fetched"] / one["needed"]]) for name, one in found.items()]


def summary_of(group: int, lengths: Any) -> GroupSummary:
    """The summary of a group, every other response right."""
    rewards, none = (np.arange(MEMBERS) % 2).astype(np.float64), np.zeros(MEMBERS, np.bool_)
    return GroupSummary(
        group_id=group,
        prompt_id=str(group),
        prompt_tokens=PROMPT,
        lengths=lengths,
        rewards=rewards,
        correct=rewards,
        truncated=none,
        aborted=none,
        oldest_version=0,
        newest_version=0,
    )
