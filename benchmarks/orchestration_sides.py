"""Both sides of `benchmarks.orchestration`: the real controller, and a bare Ray loop that makes its calls and nothing else."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import psutil
import ray

from benchmarks.orchestration_toys import MANIFEST, ToyEngine, ToyRank, ToyReward
from cluster.actors.engines import EnginePool
from cluster.actors.learner_actor import GROUPS
from cluster.actors.learners import Learners, put_packed
from cluster.actors.process import frozen_gc
from cluster.controller import Controller
from cluster.publish.provenance import recorded_in
from cluster.publish.publisher import Publisher
from cluster.record.audit.audit import audit
from cluster.record.audit.settings import Settings
from cluster.record.checkpoint import Position
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import Metrics
from configs.loader import dump
from configs.object_store import words_come_apart
from configs.schema import Config
from rollout.prompts.prompts import PromptSet
from rollout.transfer.transport import choose_transport
from rollout.types import Prompt

MB = 1e6


class Turn(NamedTuple):
    """What a step took."""

    seconds: float
    cpu: float  # seconds of the driver's process, all its threads

    @classmethod
    def now(cls) -> "Turn":
        return cls(time.perf_counter(), time.process_time())

    def until(self, end: "Turn") -> "Turn":
        """From this moment to another one."""
        return Turn(end.seconds - self.seconds, end.cpu - self.cpu)


Between = Callable[[int], Awaitable[Turn | None]]  # gets the step that has ended


@dataclass(frozen=True, slots=True)
class Toys:
    """The actors that both sides call."""

    engines: Sequence[Any]
    ranks: Sequence[Any]


def start_toys(config: Config) -> Toys:
    """Toy actors for a config, which have started. All of them end with Ray."""
    rollout = config.rollout
    kinds: dict[str, Any] = {"engine": ray.remote(ToyEngine), "reward": ray.remote(ToyReward)}
    remote: Any = ray.remote  # whose types know only some of its options
    kinds["rank"] = remote(concurrency_groups=GROUPS)(ToyRank)
    reward = kinds["reward"].options(num_cpus=0, max_concurrency=10_000).remote()
    arguments = (reward, rollout.group_size, rollout.max_response_tokens, words_come_apart(config))
    engines = [kinds["engine"].options(num_cpus=0, max_concurrency=10_000).remote(*arguments) for _ in range(rollout.fewest_engines)]
    ranks = [kinds["rank"].options(num_cpus=0).remote(rank) for rank in range(config.learner.ranks)]
    ray.get([*(engine.resume.remote() for engine in engines), *(rank.address.remote() for rank in ranks)])
    return Toys(engines, ranks)


def stop_toys(toys: Toys) -> None:
    for actor in (*toys.engines, *toys.ranks):
        ray.kill(actor)


def prompts_of(config: Config) -> list[Prompt]:
    """As many prompts as a step has groups."""
    ids = np.arange(config.data.max_prompt_tokens, dtype=np.int32)
    return [
        Prompt(prompt_id=f"q{n}", token_ids=ids, reference="42", checker="exact", text="what is 6 × 7?" * 16)
        for n in range(config.rollout.groups_per_step)
    ]


class Bare:
    """A loop over the same actors without a window, a ledger, metrics, deadlines, or a way to go on when an actor dies."""

    def __init__(self, config: Config, toys: Toys, *, together: bool) -> None:
        """`together`: the tokens of a group are one object."""
        self.config, self.toys, self.prompts, self.together = config, toys, prompts_of(config), together

    async def step(self, number: int) -> Turn:
        """One step."""
        rollout, began = self.config.rollout, Turn.now()
        parts_of_group = 1 if self.together else rollout.group_size
        returns = 1 + parts_of_group + words_come_apart(self.config)
        heads, parts = [], []
        for group, prompt in enumerate(self.prompts):
            call = self.toys.engines[group % len(self.toys.engines)].respond.options(num_returns=returns)
            head, *rest = call.remote(group, prompt, rollout.group_size, None, 1, True, self.together)
            heads.append(head)
            parts.append(rest)
        scored = await asyncio.gather(*heads)
        shared = put_packed(([summary for summary, _ in scored], [prompt.token_ids for prompt in self.prompts]))
        places = [(group, member) for group in range(len(parts)) for member in range(rollout.group_size)]
        hands = [
            {place: parts[place[0]][place[1] % parts_of_group] for place in places[rank :: len(self.toys.ranks)]} for rank in self.each_rank
        ]
        await asyncio.gather(*(rank.step.remote(shared, hand, {}) for rank, hand in zip(self.toys.ranks, hands, strict=True)))
        await self._publish(number)
        return began.until(Turn.now())

    @property
    def each_rank(self) -> range:
        return range(len(self.toys.ranks))

    async def _publish(self, version: int) -> None:
        engines, ranks = self.toys.engines, self.toys.ranks
        await asyncio.gather(*(engine.pause.remote() for engine in engines))
        await asyncio.gather(*(engine.start_update.remote() for engine in engines))
        await asyncio.gather(*(rank.send.remote() for rank in ranks), *(engine.receive.remote(MANIFEST) for engine in engines))
        await asyncio.gather(*(engine.finish_update.remote(version) for engine in engines))
        await asyncio.gather(*(engine.resume.remote() for engine in engines))


@dataclass
class Seen:
    """What a controlled run showed of each step but the first, whose groups began before it, and the last, which saves."""

    ours: list[Turn] = field(default_factory=list)  # from the submission of its groups to its last entry
    between: list[Turn] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # MB of the driver


class Stepwise(Controller):
    """The real controller, whose steps are timed one by one.

    It frees a step's slots only after the step has ended, so that no group is in flight while the other side has its turn. So nothing of a
    step overlaps with the next one's generation: the time is that of all its parts together.
    """

    seen: Seen
    between: Between
    began = Turn(0.0, 0.0)

    async def step(self, step: int, window: Any) -> None:
        """A timed step."""
        held = HeldSlots(window)
        await super().step(step, held)  # type: ignore[arg-type]
        if 1 < step < self.config.run.steps:
            self.seen.ours.append(self.began.until(Turn.now()))
            self.seen.memory.append(psutil.Process().memory_info().rss / MB)
            if (other := await self.between(step)) is not None:
                self.seen.between.append(other)
        self.began = Turn.now()
        await held.let_go()


class HeldSlots:
    """A window whose slots are freed later than asked."""

    def __init__(self, window: Any) -> None:
        self.window, self.count = window, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.window, name)

    async def release(self, count: int) -> None:
        self.count = count

    async def let_go(self) -> None:
        await self.window.release(self.count)


async def controlled(config: Config, toys: Toys, between: Between, *, together: bool) -> Seen:
    """A run of the real controller over toy actors, with `between` after each of its steps; RuntimeError where its audit finds a fault."""
    folder = config.run_dir
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(dump(config))
    ledger = Ledger(folder / "ledger.db")
    ledger.begin(0, 0, (), settings=Settings.of(config).as_json())
    metrics = Metrics(config, 0)
    engines = EnginePool(config, toys.engines, ledger.retried, say=print, on_event=ledger.event)
    learners = Learners(config, toys.ranks)
    learners.on_one_node = together
    publisher = Publisher(config, engines, learners, choose_transport(config, gpu=False))
    publisher.on_proven = recorded_in(ledger)
    await publisher.publish(0)
    actors: Any = SimpleNamespace(engines=engines, learners=learners)
    show: Any = SimpleNamespace(step=lambda *_: None, say=print, follow_window=lambda _: None)
    controller = Stepwise(config, actors, publisher, PromptSet(prompts=prompts_of(config), dropped=0), [], ledger, metrics, show)
    controller.seen, controller.between = Seen(), between
    with frozen_gc():  # as `train` does
        await controller.run(Position(step=0, next_group=0, pending=()))
    metrics.close()
    ledger.close()
    if wrong := [line for found in audit(folder) for line in found.violations]:
        raise RuntimeError(f"the run of {config.rollout.groups_per_step} groups a step does not add up: {wrong[:3]}")
    return controller.seen
