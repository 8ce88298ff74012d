"""The driver's handle on one engine, and the states of its life.

starting ──► stale ──► serving ⇄ suspect          stale: it answers, but no publish has proven its weights
    │          │         │  ▲        │
    │          │         ▼  │        │
    │          │       leaving ──────┼──► dead    leaving: it takes no new groups, and ends after the next publish
    └──────────┴─────────────────────┴──► dead
"""

import asyncio
from collections.abc import Awaitable
from enum import StrEnum
from pathlib import Path
from typing import Any

import ray

from cluster.actors.fleet.line import Line
from cluster.actors.process import log_path
from cluster.causes.roles import Role


class Health(StrEnum):
    """What an engine can be asked for now."""

    STARTING = "starting"
    STALE = "stale"
    SERVING = "serving"
    SUSPECT = "suspect"
    LEAVING = "leaving"
    DEAD = "dead"


class EngineGone(Exception):
    """The engine was taken out of service during a call to it."""


class EngineHandle:
    """A handle on one life of one engine. `index` is its place, which all its lives share."""

    def __init__(self, index: int, actor: Any, run_dir: Path, *, life: int = 0, health: Health = Health.SERVING) -> None:
        self.index, self.actor, self.life, self.health = index, actor, life, health
        self.role = Role(f"engine {index}", log_path(run_dir, f"engine-{index}"))
        self.line = Line(lambda: actor.line.remote())
        self.outstanding = 0  # groups
        self.cause: BaseException | None = None  # why it is dead
        self.is_proven = health is Health.SERVING  # its weights, by a publish
        self._waiting: set[asyncio.Future[None]] = set()  # each is done once the engine is gone

    @property
    def name(self) -> str:
        return self.role.name

    def end(self, cause: BaseException) -> None:
        """Take it out of service for good; calls to it raise EngineGone."""
        self.health, self.cause = Health.DEAD, cause
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def finished_one(self) -> None:
        """It has one group less."""
        self.outstanding -= 1

    async def answer(self, call: Awaitable[Any], within_s: float) -> Any:
        """What the engine returns or raises; TimeoutError if that takes too long, EngineGone as soon as the engine is out of service."""
        loop = asyncio.get_running_loop()
        # A thousand groups wait here at once: no task for an object of Ray's, and one future for whatever comes first.
        asked = asyncio.wrap_future(call.future()) if isinstance(call, ray.ObjectRef) else asyncio.ensure_future(call)
        over: asyncio.Future[None] = loop.create_future()

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        if self.health is Health.DEAD:
            end()
        self._waiting.add(over)
        asked.add_done_callback(end)
        timer = loop.call_later(within_s, end)
        try:
            await over
            if asked.done():
                return asked.result()
            if self.health is Health.DEAD:
                raise EngineGone(f"{self.name} is out of service")
            raise TimeoutError(f"no answer within {within_s:g} s")
        finally:
            timer.cancel()
            asked.cancel()
            self._waiting.discard(over)
