"""A run in one process: the real controller, learner, reward workers and rules, with torch in place of the engine, and without Ray.

It shows what a setting does to the policy and its rewards in seconds. What a run does to time, staleness and engines it cannot show.
"""

import asyncio
import os
import shutil
import sys
import traceback
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.health.sampler import Sampler
from cluster.actors.fleet.group_work import GroupWork, episodes_of
from cluster.actors.fleet.questions import Questions
from cluster.commands.checks.episodes.limits import chat_of
from cluster.commands.validate import load_tokenizer
from cluster.controller import Controller
from cluster.record.audit.settings import Settings
from cluster.record.checkpoint import Position
from cluster.record.ledger import Ledger, Proven
from cluster.record.metrics.metrics import Metrics
from configs.loader import dump, load
from configs.schema import Config
from learner.learner import Learner
from learner.process_group import join_ranks
from reward.scorer import Scorer
from rollout.chat.chat import Chat
from rollout.engine.pulse import GroupAtWork
from rollout.prompts.prompts import load_eval_sets, load_training_prompts
from rollout.transfer.meeting import free_socket
from rollout.types import GroupSummary, Prompt, Recorded, Sampled
from rollout.window.scored import References, Scored, Text

HOST = "127.0.0.1"


class Here:
    """Stands for a Ray handle: each method has a `.remote`."""

    def __init__(self, behind: Any) -> None:
        self.behind = behind

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.behind, name))


class Rewards:
    """The methods of a reward actor."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.score, self.reply = scorer, scorer.score, scorer.reply

    async def wants(self) -> Any:
        return self.scorer.wants

    async def leave(self, episodes: Sequence[str]) -> None:
        self.scorer.leave(episodes)


class Engines:
    """The pool of engines: one."""

    def __init__(self, config: Config, sampler: Sampler, scorer: Scorer) -> None:
        self.config, self.sampler = config, sampler
        self.questions = Questions(config, Here(Rewards(scorer)))

    async def respond(
        self, group_id: int, prompt: Prompt, size: int, *, temperature: float | None = None, texts: int = 0, learned: bool = True
    ) -> Scored:
        mine = GroupAtWork(group_id, temperature is not None)
        work = GroupWork(self.questions, mine, prompt, await self.questions.wants(), size=size, engine=episodes_of(0))
        group, scoring_s = await work.run(self.sampler, temperature)
        shown = [Text.of(i, group.responses[i], group.verdicts[i]) for i in range(min(texts, size))]
        tokens: Any = References(tokens=list(map(Sampled.of, group.responses)))  # type: ignore[arg-type]
        return Scored(summary=GroupSummary.of(group, scoring_s, talks=work.talks), texts=shown, tokens=tokens, engine=0, prompt=prompt)

    async def stranded(self) -> None:
        await asyncio.Event().wait()

    def counts(self) -> dict[str, float]:
        return {"engines/died": 0.0}

    async def drop_groups(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """The responses of a step, as the learner asks for them."""

    groups: Sequence[Scored]

    def prompt(self, group: int) -> Any:
        return self.groups[group].prompt.token_ids

    def sampled(self, places: Sequence[tuple[int, int]]) -> Sequence[Sampled]:
        return [self.groups[group].learnable.tokens[member] for group, member in places]  # type: ignore[misc]

    def experts(self, places: Sequence[tuple[int, int]]) -> Sequence[Recorded]:
        return [None] * len(places)


class Learners:
    """The pool of ranks: one."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner

    async def step(self, groups: Sequence[Scored]) -> dict[str, float]:
        return self.learner.step([scored.summary for scored in groups], Step(groups))

    async def expert_load(self, stats: Mapping[str, float]) -> Any:
        return self.learner.expert_load() if "load/dead" in stats else None

    async def scale_rate(self, share: float) -> None:
        self.learner.rate = share

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def unless_lost(self, work: Awaitable[Any]) -> Any:
        return await work

    async def snapshot(self) -> None: ...

    async def write(self, folder: Path) -> list[dict[str, Any]]:
        (folder / "rank-0.json").write_text("{}")
        return []


class Publisher:
    """Sends nothing, since the sampler has the learner's weights."""

    def __init__(self, version: list[int], ledger: Ledger) -> None:
        self.version, self.ledger = version, ledger

    async def publish(self, step: int) -> Any:
        self.version[0] = step
        self.ledger.published(step, f"w{step}", [Proven(0, 0, f"w{step}")])
        return SimpleNamespace(weights=f"w{step}", bytes=1, seconds=0.0, engines=1, turns={})


async def train(config: Config, chat: Chat) -> None:
    """A run from its first step to its last."""
    folder = config.run_dir
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(dump(config))
    tokenizer = load_tokenizer(config)
    async with Scorer(config) as scorer:
        prompts = load_training_prompts(config, tokenizer, chat.schemas)
        held_out, _ = load_eval_sets(config, tokenizer, chat.schemas)
        listener = free_socket(HOST)
        device = join_ranks(rank=0, world=1, host=HOST, port=listener.getsockname()[1], deadline_s=60, listener=listener)
        torch.set_num_threads(1)
        learner, version = Learner(config, rank=0, world=1, device=device), [0]
        policy: Any = learner.zero.module
        sampler = Sampler(config, policy.language_model, tokenizer, chat, version)
        ledger, metrics = Ledger(folder / "ledger.db"), Metrics(config, 0)
        ledger.begin(0, 0, (), settings=Settings.of(config).as_json())
        actors: Any = SimpleNamespace(engines=Engines(config, sampler, scorer), learners=Learners(learner))
        show: Any = SimpleNamespace(step=lambda *_: None, say=lambda line: print(line, flush=True), follow_window=lambda _: None)
        publisher: Any = Publisher(version, ledger)
        controller = Controller(config, actors, publisher, prompts, held_out, ledger, metrics, show)
        await publisher.publish(0)
        await controller.run(Position(step=0, next_group=0, pending=()))
        metrics.close()
        ledger.close()


def carry_out(arguments: Sequence[str], folder: Path) -> int:
    """Train in a process of its own, forked so that what is imported stays imported; its exit status."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
        file, *overrides = arguments
        config = load(file, [*overrides, f"run.dir={folder}", "run.report=false", "run.keep_capsules=0"])
        asyncio.run(train(config, chat_of(config)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
