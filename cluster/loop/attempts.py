"""How a run goes on after a spike or the loss of a rank: back to its newest whole checkpoint, with new ranks in the same places.

    a rank is lost ──► groups dropped ──► every rank killed ──► publisher reset ──► ranks start, load, publish ──► the next attempt
                            ▲                                                                   │
                            └──────────────────── a rank is lost again, restarts are left ◄─────┘

Engines stay up with their weights until the publish. What the new attempt learns is what a resumed run would learn: after a spike too, for
which ranks that work start again, since only new ones hold nothing of the steps that are undone.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.actors.engines import EnginePool
from cluster.actors.learners import Learners
from cluster.causes.cause import find_cause
from cluster.causes.lost import lost_rank
from cluster.loop.spikes import Record, Rollbacks, spike_in
from cluster.publish.publisher import Publisher
from cluster.record.checkpoint import Checkpoints, Position, read_position
from configs.errors import RunFailed
from configs.schema import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an attempt begins: after a checkpoint, with the weights of another run's checkpoint, or at the model."""

    position: Position
    checkpoint: Path | None = None
    origin: Path | None = None

    @property
    def name(self) -> str:
        """The place as a person reads it."""
        return f"step {self.position.step} ({self.checkpoint})" if self.checkpoint else "its beginning, as there is no checkpoint yet"


class Attempts:
    """Counts a run's attempts, and prepares engines and ranks for the next one."""

    def __init__(
        self,
        config: Config,
        engines: EnginePool,
        learners: Learners,
        publisher: Publisher,
        say: Callable[[str], object],
        first: Place | None = None,
        on_event: Callable[[str, str, str], object] = lambda kind, who, text: None,
        rates: Sequence[float] = (),
        on_rollback: Record = lambda spiked, back, rate, text: None,
    ) -> None:
        """`first` is where the run began; by default at the model. `on_event` gets each loss: its kind, who was lost, and why.

        `rates` are those of rollbacks so far, and `on_rollback` records another one.
        """
        self.on_event = on_event
        self.rollbacks = Rollbacks(config, rates, on_rollback, say)
        self.config, self.engines, self.learners, self.publisher, self.say = config, engines, learners, publisher, say
        self.first = first
        self.restarts = 0
        self._counted: list[tuple[float, int]] = []  # the time of each loss that still counts, and the step that the run went back to

    async def next(self, error: Exception) -> Place:
        """The place where the run goes on after `error`, once new ranks and the engines have its weights.

        Raises `error` if it is no spike and not the loss of a rank, or if learner.restarts are used up; Spiked if learner.rollbacks are.
        """
        while True:
            spike = spike_in(error)
            if spike is None and not lost_rank(error):
                raise error
            place = self.newest()
            if spike is None:
                self._count(place, error)
            else:
                self.rollbacks.add(spike, place.position.step, place.name)
            try:
                await self._prepare(place)
            except RunFailed as again:
                error = again
                continue
            return place

    def newest(self) -> Place:
        """The newest whole checkpoint that this run wrote, else where it began."""
        first = self.first or Place(position=Position(step=0, next_group=0, pending=()))
        checkpoint = Checkpoints(self.config).newest()
        if checkpoint is None or (position := read_position(checkpoint)).step <= first.position.step:
            return first
        return Place(position=position, checkpoint=checkpoint)

    def _count(self, place: Place, error: Exception) -> None:
        """Count a loss and say so; raise it if there were too many."""
        learner, now, step = self.config.learner, asyncio.get_running_loop().time(), place.position.step
        window = float(learner.restart_window_s)
        # A loss that comes again before the next checkpoint would keep a run busy forever, however long its steps are.
        self._counted = [(at, back) for at, back in self._counted if now - at <= window or back == step]
        cause = find_cause(error, self.config)
        if len(self._counted) >= learner.restarts:
            if self.restarts:
                self.say(f"learner.restarts = {learner.restarts} are used up, so the run ends")
            raise error
        self._counted.append((now, step))
        self.restarts += 1
        self.on_event("restart", cause.role or "a learner rank", f"{cause.what}; back to {place.name}: {cause.line}")
        self.say(
            f"warning: {cause.role} {cause.what}: all ranks start again, and the run goes back to {place.name}. Restart "
            f"{len(self._counted)} of {learner.restarts} (learner.restarts). {cause.line}; its log: {cause.log}"
        )

    def describe(self) -> dict[str, float]:
        """Metrics: how often the run went back so far."""
        return {"learner/restarts": float(self.restarts), **self.rollbacks.describe()}

    async def _prepare(self, place: Place) -> None:
        """Bring new ranks and the engines to the weights of a place."""
        await self.engines.drop_groups()
        self.learners.end()  # their partners in an exchange fail now, and not at the deadline
        await self.publisher.reset()
        await self.learners.restart()
        if self.rollbacks.count:
            await self.learners.scale_rate(self.rollbacks.rate)
        watching = asyncio.ensure_future(self.learners.watch())
        try:
            if place.checkpoint:
                await self.learners.load(place.checkpoint)
            elif place.origin:
                await self.learners.load_weights(place.origin, optimizer=self.config.run.from_optimizer)
            await self.publisher.publish(place.position.step)
        finally:
            watching.cancel()
