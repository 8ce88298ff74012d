"""The real engine pool, watch and fleet over toy actors, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.clock import run_virtually
from cluster.actors.engines import EnginePool
from cluster.actors.fleet.fleet import Fleet
from cluster.actors.fleet.handle import Health
from rollout.types import Prompt
from rollout.window.scored import Scored
from tests.toys.engines import ToyEngineActor, kill
from tests.toys.run import run_config

PROMPT = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="1", checker="exact")
STALL_S, DEADLINE_S = 10.0, 1000.0
STARTING, STALE, SERVING, SUSPECT, LEAVING, DEAD = Health


class Site:
    """Engines of a run; `actors[index]` are all that were launched in a place. A start takes `start_s` and fails where `fails` says so."""

    def __init__(self, engines: int, *, share: bool = False, room: int = 0, **rollout: Any) -> None:
        config = run_config(
            Path("run"),
            run={"deadline_s": DEADLINE_S, "max_staleness": 0},
            rollout={"engines": engines, "stall_s": STALL_S, "groups_per_step": 4, **rollout},
            learner={"ranks": engines},
            placement={"share": share},
        )
        self.actors: dict[int, list[ToyEngineActor]] = {}
        self.said: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.retried: list[int] = []
        self.ended: list[ToyEngineActor] = []
        self.closed: list[int] = []
        self.room = room or engines
        self.start_s, self.fails = 5.0, 0
        self.first_s: dict[int, float] = {}  # seconds of the first start in a place, where it takes longer
        self.pool = EnginePool(
            config, [], self.retried.append, kill=kill, say=self.said.append, on_event=lambda kind, who, _: self.events.append((kind, who))
        )
        self.fleet = Fleet(self.pool, self, self.launch, self.end, wanted=engines)

    async def open(self, index: int) -> bool:
        return index < self.room

    async def close(self, index: int) -> None:
        self.closed.append(index)

    async def end(self, actor: ToyEngineActor) -> None:
        self.ended.append(actor)
        kill(actor)

    def launch(self, index: int) -> ToyEngineActor:
        lives = self.actors.setdefault(index, [])
        actor = ToyEngineActor(index, len(lives))
        lives.append(actor)
        fails = self.fails > 0 and actor.life > 0
        self.fails -= fails
        seconds = self.start_s if actor.life else self.first_s.get(index, self.start_s)
        asyncio.get_running_loop().call_later(seconds, actor.dead.set if fails else actor.starts.set)
        return actor

    async def begin(self) -> None:
        await self.fleet.start_all()
        self.publish()
        self.fleet.begin()

    def publish(self) -> None:
        for engine in self.pool.alive:
            self.pool.proven(engine)

    async def respond(self, group_id: int, **how: Any) -> Scored:
        return await self.pool.respond(group_id, PROMPT, 4, **how)

    @property
    def health(self) -> list[Health]:
        return [engine.health for engine in self.pool.engines]


def on(work: Callable[[Site], Awaitable[None]], engines: int = 2, **rollout: Any) -> float:
    """Run `work` on a site; returns the virtual seconds."""

    async def run() -> None:
        site = Site(engines, **rollout)
        await site.begin()
        try:
            await work(site)
        finally:
            await site.fleet.close()

    return run_virtually(run)[1]
