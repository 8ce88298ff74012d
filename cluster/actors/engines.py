"""The driver's view of the engines: which are alive, which is least busy, and how a group survives the death of its engine."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import ray

from cluster.actors.process import tail
from cluster.scored import GroupReference, Scored
from configs.errors import EngineFailed
from configs.schema import Config
from rollout.types import Prompt


class NoEngineLeft(EngineFailed):
    """Every engine has died."""


class EngineHandle:
    """A handle on one engine actor."""

    def __init__(self, index: int, actor: Any) -> None:
        self.index, self.actor = index, actor
        self.outstanding = 0
        self.cause: BaseException | None = None

    @property
    def name(self) -> str:
        return f"engine {self.index}"


class EnginePool:
    """Sends each group to the living engine with the fewest groups outstanding."""

    def __init__(
        self, config: Config, actors: Sequence[Any], on_retry: Callable[[int], None], kill: Callable[[Any], object] = ray.kill
    ) -> None:
        self.config, self.kill = config, kill
        self.engines = [EngineHandle(index, actor) for index, actor in enumerate(actors)]
        self.on_retry = on_retry

    @property
    def alive(self) -> list[EngineHandle]:
        return [engine for engine in self.engines if engine.cause is None]

    def bury(self, engine: EngineHandle, cause: BaseException) -> None:
        """Take an engine out of service for good; its groups go to other engines."""
        if engine.cause is None:
            engine.cause = cause
            self.kill(engine.actor)

    async def respond(self, group_id: int, prompt: Prompt, size: int, *, temperature: float | None = None, texts: int = 0) -> Scored:
        """A scored group from the least busy engine; if that engine dies, from another one with the same seeds."""
        while True:
            engine = self._least_busy()
            engine.outstanding += 1
            try:
                head, tokens = engine.actor.respond.options(num_returns=2).remote(group_id, prompt, size, temperature, texts)
                summary, shown = await asyncio.wait_for(head, float(self.config.run.deadline_s))
                return Scored(summary=summary, texts=shown, tokens=GroupReference(tokens), engine=engine.index, prompt=prompt)
            except ray.exceptions.RayError as error:
                if not has_died(error):
                    raise
                self.bury(engine, error)
                self.on_retry(group_id)
            except TimeoutError as error:
                waited = f"{engine.name} did not finish group {group_id} within run.deadline_s ({self.config.run.deadline_s} s)"
                raise TimeoutError(waited) from error
            finally:
                engine.outstanding -= 1

    def _least_busy(self) -> EngineHandle:
        alive = self.alive
        if not alive:
            dead = self.engines[0]
            log = tail(self.config.run_dir, f"engine-{dead.index}")
            raise NoEngineLeft(f"all {len(self.engines)} engines have died; the end of the log of {dead.name}:\n{log}") from dead.cause
        return min(alive, key=lambda engine: (engine.outstanding, engine.index))


def has_died(error: BaseException) -> bool:
    """Whether an error means that the engine has died: its actor, or the vLLM process behind a living actor."""
    if isinstance(error, ray.exceptions.RayTaskError):
        # Raised inside a living actor. If it had called an actor that died, Ray's class for this error is an ActorDiedError too.
        return type(error.cause).__name__ == "EngineDeadError"
    return isinstance(error, ray.exceptions.RayActorError) or type(error).__name__ == "EngineDeadError"
