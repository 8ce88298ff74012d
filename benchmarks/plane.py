"""The bytes that learner nodes fetch over the bytes that their rows need, and what an object for each response costs.

Planned: the steps of all recipes with seeded random lengths, on learner nodes of eight ranks, through the driver's own plan and hands.
Measured: real objects on a simulated Ray cluster of two nodes, whose engine is killed before the ranks fetch.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.rounds import ROOT, Row, Size
from cluster.actors.learner_actor import ObjectStore
from cluster.actors.learners import Learners, Shared
from configs.expert_plan import recorded_bytes
from configs.loader import load
from configs.object_store import TOKEN_BYTES, response_token_bytes
from configs.schema import Config
from learner.batch.fetched import fetch
from learner.batch.plan import plan_for
from learner.batch.row import Place
from rollout.types import GroupSummary, Prompt
from rollout.window.scored import References, Scored

RANKS_A_NODE = 8
SIGMA, MEDIAN = 0.8, 0.2  # of log-normal lengths, as a share of their limit
QWEN3 = {"num_experts": 128, "num_experts_per_tok": 8}
TOKENS, EXPERTS, PROMPTS = "tokens", "experts", "prompts"


def measure(_: Size) -> list[Row]:
    """A row for each recipe, and one of a simulated cluster."""
    from benchmarks.plane_nodes import measured

    rows = []
    for path in sorted((ROOT / "configs").glob("*.toml")):
        found = planned(load(path), model_of(path))
        rows += [
            Row(what=f"{path.stem}: fetched / needed, planned", unit="x", values=found.ratios),
            Row(what=f"{path.stem}: the same if whole groups travelled", unit="x", values=found.whole_ratios),
        ]
    return [*rows, *measured()]


def model_of(path: Path) -> dict[str, Any]:
    """As much of the Hugging Face config of a recipe's model as recordings depend on."""
    layers = {"qwen3_30b": 48, "qwen3_235b": 94}
    return next(({"num_hidden_layers": count, **QWEN3} for name, count in layers.items() if path.name.startswith(name)), {})


@dataclass
class Traffic:
    """Bytes of every learner node in one step."""

    fetched: list[float] = field(default_factory=list)
    needed: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)  # if a node fetched the whole group of each row

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.fetched, self.needed, strict=True)]

    @property
    def whole_ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.whole, self.needed, strict=True)]


def planned(config: Config, model: dict[str, Any], ranks_a_node: int = RANKS_A_NODE, seed: int = 0) -> Traffic:
    """One step of a run with random lengths: what the nodes fetch of what the driver hands to their ranks."""
    groups = list(random_groups(config, np.random.default_rng(seed)))
    bytes_of = Sizes(config, model, groups)
    ranks = [ToyRank(config) for _ in range(config.learner.ranks)]
    asyncio.run(Learners(config, ranks, share=lambda shared: shared).step(groups))
    plan = plan_for(config, config.whole_objective.preset, len(ranks), [scored.summary for scored in groups])
    traffic = Traffic()
    for first in range(0, len(ranks), ranks_a_node):
        node = ranks[first : first + ranks_a_node]
        fetched = {(PROMPTS, 0, 0)}.union(*(rank.fetched for rank in node))
        places = [row.place for number in range(first, first + len(node)) for row in plan.rows_of_rank(number)]
        prompts = sum(bytes_of.prompt(group) for group in {group for group, _ in places})
        used = sum(bytes_of(EXPERTS, *place) for kind, *place in fetched if kind == EXPERTS)
        traffic.fetched.append(sum(bytes_of(*item) for item in fetched))
        traffic.needed.append(prompts + used + sum(bytes_of(TOKENS, *place) for place in places))
        traffic.whole.append(sum(bytes_of.group(group) for group in {group for group, _ in places}))
    return traffic


def random_groups(config: Config, random: np.random.Generator) -> Iterator[Scored]:
    """Groups with random lengths and rewards, and labels for references."""

    def lengths(limit: int, count: int) -> Any:
        return np.clip(random.lognormal(np.log(max(1.0, limit * MEDIAN)), SIGMA, count), 1, limit).astype(np.int64)

    members = config.rollout.group_size
    for group in range(config.rollout.groups_per_step):
        prompt = Prompt(
            prompt_id=str(group),
            token_ids=np.zeros(lengths(config.data.max_prompt_tokens, 1)[0], np.int32),
            reference="",
            checker="exact",
        )
        rewards = random.integers(0, 2, members).astype(np.float64)
        summary = GroupSummary(
            group_id=group,
            prompt_id=prompt.prompt_id,
            prompt_tokens=len(prompt.token_ids),
            lengths=lengths(config.rollout.max_response_tokens, members),
            rewards=rewards,
            correct=rewards,
            truncated=np.zeros(members, np.bool_),
            aborted=np.zeros(members, np.bool_),
            oldest_version=0,
            newest_version=0,
        )
        tokens, experts = ([(kind, group, member) for member in range(members)] for kind in (TOKENS, EXPERTS))
        references: Any = References(tokens=tokens, experts=experts if config.rollout.capture_routing else [])  # type: ignore[arg-type]
        yield Scored(summary=summary, texts=(), tokens=references, engine=0, prompt=prompt)


class Sizes:
    """Bytes of a step's objects."""

    def __init__(self, config: Config, model: dict[str, Any], groups: Sequence[Scored]) -> None:
        self.groups = [scored.summary for scored in groups]
        self.a_token, self.recorded = response_token_bytes(config), recorded_bytes(config, model)

    def __call__(self, kind: str, group: int, member: int) -> float:
        if kind == PROMPTS:
            return sum(map(self.prompt, range(len(self.groups))))
        length = int(self.groups[group].lengths[member])
        return length * self.a_token if kind == TOKENS else (self.groups[group].prompt_tokens + length - 1) * self.recorded

    def prompt(self, group: int) -> float:
        return self.groups[group].prompt_tokens * TOKEN_BYTES

    def group(self, group: int) -> float:
        """A group's prompt and all its responses with their recorded experts."""
        members = range(len(self.groups[group].lengths))
        return self.prompt(group) + sum(self(kind, group, member) for kind in (TOKENS, EXPERTS) for member in members)


class ToyRank:
    """Stands for a rank's handle: it fetches as a learner does, but only notes the labels."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fetched: set[tuple[str, int, int]] = set()
        self.step = SimpleNamespace(remote=self._step)

    async def _step(self, shared: Shared, tokens: Any, recorded: dict[Place, Any]) -> dict[str, float]:
        rows = [SimpleNamespace(place=place, group=place[0]) for place in tokens]
        fetched = fetch(self.config, ObjectStore(shared[1], tokens, recorded, self._get), rows)  # type: ignore[arg-type]
        if self.config.rollout.capture_routing:
            fetched.fetch_experts(rows[: ceil(self.config.mismatch.share * len(rows))])  # type: ignore[arg-type]
        return {}

    def _get(self, labels: Sequence[Any]) -> Sequence[Any]:
        self.fetched |= set(labels)
        return labels
