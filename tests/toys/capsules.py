"""Capsules of the real learner's steps, without DeepSpeed, Ray or an engine: plain gradient descent on the tiny model."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.loop.capsules import Capsules
from cluster.record.capsules.read import Capsule, list_capsules, read_capsule
from cluster.record.capsules.write import write_rank
from configs.schema import Config
from learner.batch.fetched import InMemory
from learner.experts.routers import expert_shape
from learner.learner import Learner
from learner.loss.entropy import EntropyControl
from learner.mismatch.rescoring import Rescoring
from learner.mismatch.routing_watch import RoutingWatch
from learner.model.policy import load_policy
from learner.model.precision import apply_precision
from learner.model.spikes import Spikes
from rollout.types import Finish, Group, GroupSummary, Prompt, Response, Verdict
from rollout.window.scored import Scored, Text
from tests.toys.holes import with_episodes
from tests.toys.run import run_config

LEARNED = torch.device("cpu")


class PlainZero:
    """What a learner needs of DeepSpeed, as plain gradient descent."""

    def __init__(self, config: Config, model: Path) -> None:
        self.module = load_policy(config, str(model))
        apply_precision(self.module, config.learner)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.5)

    def __call__(self, *args: Any) -> Any:
        return self.module(*args)

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def update(self, lr: float, refuses: Callable[[float], bool] | None = None) -> tuple[float, bool]:
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in self.module.parameters() if p.grad is not None]))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm, True


class PlainLearner(Learner):
    """The real steps over `PlainZero`; its reference is the tiny model with its log-probs shifted a little."""

    def __init__(self, config: Config, model: Path, rank: int, world: int) -> None:
        self.config, self.rank, self.world, self.device = config, rank, world, LEARNED
        self.objective = config.whole_objective
        plain: Any = PlainZero(config, model)
        self.zero = plain
        frozen = load_policy(config, str(model)) if config.kl.reference else None
        self.reference: Any = None if frozen is None else Frozen(frozen)
        self.shape = expert_shape(self.zero.module.language_model)
        captured = self.shape if config.rollout.capture_routing else None
        self.watch = RoutingWatch(captured.sparse if captured else (), LEARNED)
        self.rescoring = Rescoring(config, self.zero, captured, LEARNED)
        self.entropy, self.spikes, self.rate = EntropyControl(config.entropy), Spikes(config.learner), 1.0
        self.steps_done = self.updates_done = self.skipped = 0
        self.trace = None


class Frozen:
    """A reference policy."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    @torch.no_grad()
    def __call__(self, batch: Any) -> torch.Tensor:
        return self.policy(batch)[0] - 0.1 * batch.mask

    def refresh_when_due(self, steps: int) -> None:
        pass


def right_or_wrong(seed: int, *, members: int = 4, experts: bool = False) -> Group:
    """A group whose responses say 1 or 0 where the reference is 1, with tokens and log-probs of their own."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(4, 32, rng.integers(1, 5)).astype(np.int32)
    right = [bool(place % 2 == seed % 2 or place == 0) for place in range(members)]
    responses: list[Response] = []
    for length in rng.integers(2, 8, members):
        routed = np.stack([rng.permutation(4)[:2] for _ in range((len(prompt) + length - 1) * 2)]) if experts else None
        responses.append(
            Response(
                token_ids=rng.integers(4, 32, length).astype(np.int32),
                logprobs=(-3.4 - 0.3 * rng.standard_normal(length)).astype(np.float32),
                finish=Finish.STOP,
                oldest_version=0,
                newest_version=0,
                text=str(int(right[len(responses)])),
                routed_experts=None if routed is None else routed.reshape(-1, 2, 2).astype(np.uint8),
            )
        )
    return Group(
        group_id=10 + seed,
        prompt=Prompt(prompt_id=f"p{seed}", token_ids=prompt, reference="1", checker="exact", text="one?", where=f"t.jsonl line {seed}"),
        responses=tuple(responses),
        verdicts=tuple(Verdict(reward=float(good), parts={"correct": float(good)}) for good in right),
    )


def config_for(folder: Path, model: Path, **sections: dict[str, Any]) -> Config:
    """A config of a step of two groups of four."""
    learner = {"micro_batch_tokens": 40, "attention": "sdpa", **sections.pop("learner", {})}
    run = {"dir": str(folder), "capsule_every": 1, **sections.pop("run", {})}
    model_keys = {"path": str(model), "dtype": "float32"}
    return run_config(folder, run=run, model=model_keys, learner=learner, **sections)


def learn(folder: Path, model: Path, groups: Sequence[Group], **sections: dict[str, Any]) -> Capsule:
    """A step of the real learner on each rank in turn, and the capsule that the real driver keeps of it."""
    config = config_for(folder, model, **sections)
    summaries, world = [GroupSummary.of(group) for group in groups], config.learner.ranks
    learners = [PlainLearner(config, model, rank, world) for rank in range(world)]
    stats = [one.step(summaries, InMemory(groups)) for one in learners]
    whole = stats[0] | {name: sum(of_rank[name] for of_rank in stats) for name in ("loss", "learned_tokens")}
    words = [[Text.of(place, r, v) for place, (r, v) in enumerate(zip(g.responses, g.verdicts, strict=True))] for g in groups]

    class Ranks:
        async def capsule(self, aside: Path, room: int) -> list[dict[str, Any]]:
            return [write_rank(aside, one.rank, world, one.trace, room) for one in learners if one.trace is not None]

    class Engines:
        async def words(self, scored: Sequence[Scored]) -> list[Any]:
            return words

    class NoCheckpoints:
        def size(self) -> int:
            return 0

    said: list[str] = []
    keeper = Capsules(config, Ranks(), Engines(), NoCheckpoints(), said.append)  # type: ignore[arg-type]
    scored = [Scored(summary=s, texts=(), tokens=None, engine=0, prompt=g.prompt) for s, g in zip(summaries, groups, strict=True)]
    asyncio.run(keeper.after_step(1, scored, whole, None, ()))
    assert said == []
    return read_capsule(list_capsules(folder)[-1])


def episodes(seed: int) -> Group:
    """A group of episodes with tokens of an environment, rewritten contexts and rewards of turns."""
    return with_episodes(right_or_wrong(seed), seed)
