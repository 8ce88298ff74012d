"""The driver's view of the engines: which are alive, which is least busy, and how a group survives the death of its engine."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray

from cluster.actors.died import has_died
from cluster.actors.process import log_path
from cluster.causes.cause import find_cause
from cluster.causes.roles import BehindARole, Role, RoleFailed, RoleLate
from cluster.scored import Reference, References, Scored
from configs.errors import EngineFailed
from configs.schema import Config
from rollout.types import Prompt


class NoEngineLeft(BehindARole, EngineFailed):
    """Every engine has died; raised from what ended the last one."""


class EngineHandle:
    """A handle on one engine actor."""

    def __init__(self, index: int, actor: Any, run_dir: Path) -> None:
        self.index, self.actor = index, actor
        self.role = Role(f"engine {index}", log_path(run_dir, f"engine-{index}"))
        self.outstanding = 0
        self.cause: BaseException | None = None

    @property
    def name(self) -> str:
        return self.role.name


class EnginePool:
    """Sends each group to the living engine with the fewest groups outstanding."""

    def __init__(
        self,
        config: Config,
        actors: Sequence[Any],
        on_retry: Callable[[int], None],
        kill: Callable[[Any], object] = ray.kill,
        say: Callable[[str], object] = print,
    ) -> None:
        self.config, self.kill, self.say = config, kill, say
        self.dead: list[EngineHandle] = []  # in the order of their deaths
        self.engines = [EngineHandle(index, actor, config.run_dir) for index, actor in enumerate(actors)]
        self.on_retry = on_retry

    @property
    def alive(self) -> list[EngineHandle]:
        return [engine for engine in self.engines if engine.cause is None]

    def bury(self, engine: EngineHandle, cause: BaseException) -> None:
        """Take an engine out of service for good; its groups go to other engines."""
        if engine.cause is None:
            engine.cause = cause
            self.dead.append(engine)
            self.kill(engine.actor)
            if self.alive:  # otherwise the run ends and says so itself
                found = find_cause(RoleFailed.behind(engine.role, "died", cause), self.config)
                self.say(f"warning: {engine.name} died; its groups go on elsewhere. {found.line}; its log: {engine.role.log}")

    def none_left(self) -> NoEngineLeft:
        """The error of a run without engines, raised from what ended the last one."""
        error = NoEngineLeft(f"all {len(self.engines)} engines have died, {self.dead[-1].name} as the last")
        error.__cause__ = RoleFailed.behind(self.dead[-1].role, "died", self.dead[-1].cause)
        return error

    async def respond(
        self, group_id: int, prompt: Prompt, size: int, *, temperature: float | None = None, texts: int = 0, learned: bool = True
    ) -> Scored:
        """A scored group from the least busy engine; if that engine dies, from another one with the same seeds.

        The tokens of a group that will not be `learned` never leave the engine.
        """
        objects = size * (1 + self.config.rollout.capture_routing) if learned else 0
        while True:
            engine = self._least_busy()
            engine.outstanding += 1
            try:
                call = engine.actor.respond.options(num_returns=1 + objects)
                made = call.remote(group_id, prompt, size, temperature, texts, learned)
                head, *parts = made if learned else [made]
                summary, shown = await asyncio.wait_for(head, float(self.config.run.deadline_s))
                tokens = references(parts, size) if learned else None
                return Scored(summary=summary, texts=shown, tokens=tokens, engine=engine.index, prompt=prompt)
            except ray.exceptions.RayError as error:
                if not has_died(error):
                    raise
                self.bury(engine, error)
                self.on_retry(group_id)
            except TimeoutError as error:
                raise RoleLate(engine.role, f"did not finish group {group_id}", float(self.config.run.deadline_s)) from error
            finally:
                engine.outstanding -= 1

    async def drop_groups(self) -> None:
        """Let every engine abort the groups that it works on; an engine that cannot is out of service."""
        engines, deadline = self.alive, float(self.config.run.deadline_s)
        calls = [asyncio.wait_for(engine.actor.drop_groups.remote(), deadline) for engine in engines]
        for engine, failed in zip(engines, await asyncio.gather(*calls, return_exceptions=True), strict=True):
            if isinstance(failed, Exception):
                self.bury(engine, failed)

    def _least_busy(self) -> EngineHandle:
        alive = self.alive
        if not alive:
            raise self.none_left()
        return min(alive, key=lambda engine: (engine.outstanding, engine.index))


def references(parts: Sequence[Any], size: int) -> References:
    """The objects of a group of `size` responses: the tokens of each, then the recorded experts of each if there are any."""
    made = [Reference(part) for part in parts]
    return References(tokens=made[:size], experts=made[size:])
