"""Engines and ranks on the same GPUs: whose turn it is, and how the GPUs change hands.

    engines' turn                              ranks' turn
    ┌──────────────┐  sleep      ┌─────────┐  unpark   ┌───────────────┐
    │ engines: all │ ──────────► │ nobody  │ ────────► │ ranks: all    │ ◄── learn, save, load
    │ ranks: host  │             └─────────┘           │ engines: none │
    └──────────────┘                                   └───────────────┘
           ▲                                                   │ wake weights         a publish from here on
           │ wake cache  ┌──────────────────┐  park    ┌───────────────────────────────┐
           └──────────── │ engines: weights │ ◄─────── │ ranks: all, engines: weights  │ start ► transfer ► finish ► verify
                         └──────────────────┘          └───────────────────────────────┘

Engines sleep at level 2: their weights are lost, and the next publish brings and proves whole ones. Ranks take their turn by themselves
(`Learners.take_turn`); only a publish gives it back. So engines that have slept answer nothing before they have proven whole weights.

An engine that fails or is late at any arrow, asleep or awake, is buried as in a publish without turns; the ranks beside it go on. After the
loss of a rank all engines sleep, and new ranks have the first turn. Every arrow has the run's deadline.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.actors.engines import EnginePool
from cluster.actors.fleet.handle import EngineHandle
from cluster.actors.learners import Learners
from cluster.publish.blame import Failure, answer, last_line
from cluster.publish.patches import PatchPublisher
from cluster.publish.publisher import LearnerFailed, Publisher, PublishFailed
from configs.schema import Config
from rollout.transfer.transport import Transport

LOSE_WEIGHTS = 2  # vLLM's level of sleep
WEIGHTS, CACHE = "weights", "kv_cache"  # vLLM's names of what wakes
ARROWS = ("sleep", "unpark", "wake_weights", "park", "wake_cache")  # of the turns, in their order: the keys `turns/…` of the metrics


class TurnTaker(Publisher):
    """A publisher that also hands the GPUs from engines to ranks and back. It begins in the engines' turn."""

    def __init__(self, config: Config, engines: EnginePool, learners: Learners, transport: Transport) -> None:
        super().__init__(config, engines, learners, transport)
        self._asleep: dict[EngineHandle, set[str]] = {}  # what each engine has not yet woken; all other engines are awake
        self._parked = True
        learners.take_turn = self.to_ranks

    async def to_ranks(self) -> None:
        """Give the GPUs to the ranks, unless they have them. An engine that fails at it is buried; NoEngineLeft after the last one."""
        if not self._parked:
            return
        awake = [engine for engine in self.engines.alive if self._asleep.get(engine) != {WEIGHTS, CACHE}]
        with self._timed("sleep"):
            await self._answers("sleep", awake, self._sleep)
        if not self.engines.alive:
            raise self.engines.none_left()
        await self._ranks("unpark")
        self._parked = False

    async def reset(self) -> None:
        """Put every engine to sleep as well: new ranks start on the devices, as those that had their turn."""
        await super().reset()
        awake = [engine for engine in self.engines.alive if not self._asleep.get(engine)]
        await self._answers("sleep", awake, self._sleep)
        if not self.engines.alive:
            raise self.engines.none_left()
        self._parked, self._turns = False, {}

    async def _stop(self, engines: list[EngineHandle]) -> None:
        await self.to_ranks()
        if lost := [engine.name for engine in engines if engine.cause is not None]:
            raise PublishFailed(f"{', '.join(lost)} could not sleep")
        sleeping = [engine for engine in engines if WEIGHTS in self._asleep.get(engine, ())]
        with self._timed("wake_weights"):
            await self._each("wake weights", sleeping, lambda engine: self._wake(engine, WEIGHTS))

    async def _go_on(self, engines: list[EngineHandle]) -> None:
        await self._ranks("park")
        self._parked = True
        with self._timed("wake_cache"):
            await self._each("wake cache", engines, lambda engine: self._wake(engine, CACHE))

    def _begins(self, engine: EngineHandle) -> None:
        """Nothing to resume: an engine whose cache sleeps answers no request."""
        super()._begins(engine)
        self._paused.remove(engine)

    async def _sleep(self, engine: EngineHandle) -> None:
        await engine.actor.sleep.remote(LOSE_WEIGHTS)
        self._asleep[engine] = {WEIGHTS, CACHE}

    async def _wake(self, engine: EngineHandle, what: str) -> None:
        await engine.actor.wake.remote([what])
        self._asleep[engine].discard(what)

    async def _ranks(self, method: str) -> None:
        with self._timed(method):
            found = await answer(None, self.learners.all(method))
        if isinstance(found, Failure):
            raise LearnerFailed(f"the learner failed at '{method}': {last_line(found.error)}") from found.error

    @contextmanager
    def _timed(self, arrow: str) -> Iterator[None]:
        """Add the seconds within to those of an arrow."""
        started = time.perf_counter()
        yield
        self._turns[arrow] = self._turns.get(arrow, 0.0) + time.perf_counter() - started

    def _bury(self, engine: EngineHandle, cause: BaseException) -> None:
        super()._bury(engine, cause)
        self._asleep.pop(engine, None)


def open_publisher(config: Config, engines: EnginePool, learners: Learners, transport: Transport) -> Publisher:
    """The publisher of a run: one that takes turns where GPUs are shared, one that sends changes where the config asks for it."""
    kind = TurnTaker if config.placement.share else PatchPublisher if config.rollout.full_every > 1 else Publisher
    return kind(config, engines, learners, transport)
