"""Engines that have joined a publish without serving before: each must answer as an engine that serves does."""

import asyncio
from collections.abc import Sequence

from numpy import int32
from numpy.typing import NDArray

from cluster.actors.engines import EnginePool
from cluster.actors.fleet.handle import EngineHandle, Health
from cluster.publish.blame import Failure, answer
from cluster.publish.probe import TOLERANCE, Answers, compare
from configs.schema import Config


class NewcomerRefused(RuntimeError):
    """An engine holds the published weights, and does not answer as an engine that serves them."""


class Newcomers:
    """Judges stale engines after a publish has proven their weights, and before they serve."""

    def __init__(self, config: Config, engines: EnginePool) -> None:
        self.engines = engines
        self.probes: Sequence[NDArray[int32]] = ()  # tokens of a few prompts; none until the run's prompts are known
        self.deadline_s = float(config.run.deadline_s)
        self.tolerance = TOLERANCE[config.engine_dtype]

    async def admit(self, published: Sequence[EngineHandle]) -> None:
        """Bury every stale engine among `published` that answers otherwise. Where none serves yet, the proof of the weights is enough."""
        stale = [engine for engine in published if engine.health is Health.STALE]
        if stale and len(self.probes):
            answers = await self.answers(stale)
            expected = await self._expected(published)
            for engine, found in zip(stale, answers, strict=True):
                if found is not None and expected is not None:
                    self._judge(engine, found, *expected)

    async def _expected(self, published: Sequence[EngineHandle]) -> tuple[EngineHandle, Answers] | None:
        """A serving engine and its answers; None if none serves. One that fails is buried, and another one is asked."""
        for neighbour in published:
            if neighbour.health is Health.SERVING:
                (found,) = await self.answers([neighbour])
                if found is not None:
                    return neighbour, found
        return None

    async def answers(self, engines: Sequence[EngineHandle]) -> list[Answers | None]:
        """The answers of each engine to the probes; None for one that failed, which is buried."""
        calls = (answer(engine, engine.actor.probe.remote(self.probes), self.deadline_s) for engine in engines)
        found = await asyncio.gather(*calls)
        for failure in found:
            if isinstance(failure, Failure):
                self.engines.bury(failure.who, failure.error)
        return [None if isinstance(answers, Failure) else answers for answers in found]

    def _judge(self, engine: EngineHandle, found: Answers, neighbour: EngineHandle, expected: Answers) -> None:
        for difference in compare(expected, found):
            if not difference.nats <= self.tolerance:
                said = (
                    f"{engine.name} answers probe {difference.place} with {difference.after}, {neighbour.name} with {difference.before}, "
                    f"both with the same weights: log-probs differ by {difference.nats:.2e} (allowed {self.tolerance:.0e})"
                )
                self.engines.bury(engine, NewcomerRefused(said))
                return
