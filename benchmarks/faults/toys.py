"""Engines, learner ranks and reward workers whose model is one number. The number follows from every token that was ever learned."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray

from benchmarks.faults.plan import GROUPS_PER_STEP, SIGMA, number_of
from benchmarks.faults.world import Process, World
from rollout.transfer.proof import Manifest
from rollout.transfer.transport import Rendezvous, Seat
from rollout.types import GroupSummary, Outcome, Prompt, Verdict
from rollout.window.scored import Text

NAMES = ("embedding", "experts", "head")
MODEL = 1  # the weights that a run begins with
NOTHING = -1  # half of old and half of new weights
CHUNKS = 6  # parts in which a group is generated
WHOLE = (1 << 61) - 1


@dataclass(slots=True)
class Tokens:
    """One response: the versions that sampled it, and one number for its tokens."""

    group: int
    member: int
    oldest: int
    newest: int
    number: int


@dataclass(slots=True)
class ToyReward:
    """Scores responses."""

    world: World
    me: Process

    async def ready(self) -> str:
        await self.me.work("start", self.world.shape.lasts(self.world.shape.times.reward_start, "reward"))
        return "10.0.0.0"

    async def score(self, asked: Sequence[float]) -> list[Verdict]:
        await self.me.work("score", self.world.shape.lasts(self.world.shape.times.score, asked))
        return [Verdict(reward=reward) for reward in asked]

    async def shutdown(self) -> None: ...


@dataclass
class ToyEngine:
    """Generates groups in chunks, each under the weights that it serves then, and refuses what a real engine refuses."""

    world: World
    me: Process
    reward: Any
    weights: int = MODEL
    version: int = -1
    updating: bool = False
    started: bool = False
    tokens: int = 0
    beats: int = 0
    flying: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.resumed = asyncio.Event()
        self.resumed.set()

    async def ready(self) -> str:
        if not self.started:
            await self.me.work("start", self.world.shape.lasts(self.world.shape.times.engine_start, self.me.role, "start"))
        self.started = True
        return f"10.0.0.{self.me.node}"

    async def line(self) -> str:
        return ""  # every call goes through this world

    async def respond(self, group_id: int, prompt: Prompt, size: int, temperature: Any, texts: int, learned: bool, together: bool) -> Any:
        shape = self.world.shape
        seconds = shape.lasts(shape.times.generate, "group", group_id, sigma=SIGMA)
        self.flying[group_id] = asyncio.get_running_loop().time()
        seen = []
        try:
            for _ in range(CHUNKS):
                await self.resumed.wait()
                self.trust(f"group {group_id}")
                seen.append((self.version, self.weights))
                await self.me.work("generate", self.crowding * seconds / CHUNKS)
                self.tokens += size
        finally:
            self.flying.pop(group_id, None)
        seen = sorted(set(seen))
        rewards = [float(shape.chance("reward", group_id, member) < 0.5) for member in range(size)]
        if shape.dynamic and shape.chance("signal", group_id) < 0.25:
            rewards = [1.0] * size
        verdicts = await self.reward.score.remote(rewards)
        shown = [Text(member, f"{number_of(seen, member)}", verdicts[member]) for member in range(min(texts, size))]
        head = summary_of(group_id, prompt, [verdict.reward for verdict in verdicts], seen[0][0], seen[-1][0]), shown
        if not learned:
            return head
        tokens = [Tokens(group_id, m, seen[0][0], seen[-1][0], number_of(group_id, m, prompt.prompt_id, seen)) for m in range(size)]
        return head, *([tokens] if together else tokens)

    @property
    def crowding(self) -> float:
        """How much slower than usual the engine is, because it has the groups of a dead one beside its own."""
        shape = self.world.shape
        usual = GROUPS_PER_STEP * (1 + shape.staleness) / shape.engines
        return max(1.0, len(self.flying) / usual) if shape.crowded else 1.0

    def trust(self, what: str) -> None:
        """Note it where the engine serves weights that are not those of its version."""
        if self.updating:
            self.world.history.wrong(f"{self.me.role} generated {what} during an update")
        known = self.world.history.weights.get(self.version, {MODEL})
        if self.weights not in known:
            self.world.history.wrong(f"{self.me.role} generated {what} with weights that are not those of version {self.version}")

    async def pulse(self) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        slowest = min(self.flying.items(), key=lambda one: one[1], default=None)
        self.beats += self.me.core_goes.is_set()
        return {
            "tokens": self.tokens, "steps": self.tokens, "beats": self.beats, "requests": len(self.flying), "generating": len(self.flying),
            "scoring": 0, "paused": not self.resumed.is_set(), "updating": self.updating, "stopped": not self.me.core_goes.is_set(),
            "slowest": None if slowest is None else (slowest[0], now - slowest[1], self.tokens),
        }  # fmt: skip

    async def drop_groups(self) -> None:
        await self.me.work("drop groups", 0.01)
        self.me.end(lambda name: name == "respond", ray.exceptions.TaskCancelledError())

    async def abort_all(self) -> None:
        await self.drop_groups()

    async def abort(self, group_id: int, evaluated: bool) -> None:
        await self.me.work("abort", 0.01)

    async def probe(self, prompts: Sequence[Any]) -> list[tuple[list[int], list[float]]]:
        await self.resumed.wait()
        await self.me.work("probe", 0.1)
        self.trust("a probe")
        return [([number_of(self.weights, place) % 1000], [-0.5]) for place in range(len(prompts))]

    async def resume(self) -> None:
        await self.me.work("resume", 0.01)
        if self.resumed.is_set():
            return
        self.trust("what was paused")
        self.resumed.set()

    async def room(self) -> int:
        return 1 << 30

    async def sleep(self, level: int) -> None:
        self.resumed.clear()
        await self.me.work("sleep", 0.5)
        self.weights = NOTHING if level > 1 else self.weights

    async def wake(self, tags: Any) -> None:
        await self.me.work("wake", 0.5)
        if "kv_cache" in tags:
            await self.resume()

    async def join_transfer(self, seat: Seat) -> None:
        self.meeting = seat.rendezvous
        await self.me.work("join", self.world.shape.times.join)
        await meet(self.world, self.me, self.meeting, "join")

    async def update(self, manifest: Manifest, version: int) -> Any:
        self.resumed.clear()
        await self.me.work("pause", 0.01)
        if self.updating:
            raise RuntimeError("an update is already active")
        self.updating = True
        await self.receive()
        await self.me.work("finish", 0.05)
        assert self.updating
        self.updating, self.version = False, version
        return [dict.fromkeys(NAMES, (self.weights, 1))], []

    async def receive(self) -> None:
        self.weights = NOTHING
        brought = await meet(self.world, self.me, self.meeting, "transfer")
        await self.me.work("receive", self.world.shape.lasts(self.world.shape.times.transfer, self.me.role, self.version))
        (self.weights,) = [number for number in brought if number is not None]

    async def abandon_update(self) -> None:
        await self.me.work("abandon", 0.01)
        self.updating = False

    async def shutdown(self) -> None: ...


async def meet(world: World, me: Process, meeting: Rendezvous, what: str, brings: Any = None) -> list[Any]:
    """A collective of a transfer group; it has half of the run's deadline."""
    rounds = getattr(me.behind, "rounds_of_transfer", 0) + 1 if what == "transfer" else 0
    me.behind.rounds_of_transfer = rounds if what == "transfer" else 0
    return await world.meet((meeting.name, what, rounds), meeting.world_size, world.shape.times.deadline / 2, me, brings)


def summary_of(group_id: int, prompt: Prompt, rewards: Sequence[float | None], oldest: int, newest: int) -> GroupSummary:
    """A scored group as the driver sees it."""
    known = np.array(rewards, float)
    count = len(rewards)
    none = np.zeros(count, bool)
    return GroupSummary(
        group_id=group_id, prompt_id=prompt.prompt_id, prompt_tokens=2, lengths=np.full(count, 4), rewards=known, correct=known,
        truncated=none, aborted=none, oldest_version=oldest, newest_version=newest, outcomes=(Outcome.SCORED,) * count,
    )  # fmt: skip
