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
        asked, gone = asyncio.ensure_future(call), asyncio.get_running_loop().create_future()
        self._waiting.add(gone)
        if self.health is Health.DEAD:
            gone.set_result(None)
        try:
            await asyncio.wait((asked, gone), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return asked.result()
            if gone.done():
                raise EngineGone(f"{self.name} is out of service")
            raise TimeoutError(f"no answer within {within_s:g} s")
        finally:
            asked.cancel()
            self._waiting.discard(gone)
