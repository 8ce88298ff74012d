"""The driver's view of the engines: which of them serve, which is least busy, and how a group survives the death of its engine."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import ray

from cluster.actors.died import has_died
from cluster.actors.fleet.handle import EngineGone, EngineHandle, Health
from cluster.actors.fleet.race import Ask, Race, references
from cluster.actors.fleet.stragglers import Stragglers
from cluster.causes.cause import find_cause
from cluster.causes.roles import BehindARole, RoleFailed
from cluster.record.metrics.timeline.spans import Spans
from cluster.record.progress.board import EngineNow
from configs.errors import EngineFailed
from configs.object_store import comes_by_line, words_come_apart
from configs.schema import Config
from rollout.types import Prompt
from rollout.window.scored import Scored, Text

__all__ = ("EngineHandle", "EnginePool", "NoEngineLeft", "OnEvent", "Scored", "references")

OnEvent = Callable[[str, str, str], object]  # gets the kind of event, the engine's name, and what happened


class NoEngineLeft(BehindARole, EngineFailed):
    """Every engine has died; raised from what ended the last one."""


class EnginePool:
    """Sends each group to the serving engine with the fewest groups outstanding."""

    def __init__(
        self,
        config: Config,
        actors: Sequence[Any],
        on_retry: Callable[[int], None],
        kill: Callable[[Any], object] = ray.kill,
        say: Callable[[str], object] = print,
        on_event: OnEvent = lambda kind, engine, text: None,
    ) -> None:
        """`actors` serve at once, without a publish; a `Fleet` brings its own engines and replaces dead ones."""
        self.config, self.kill, self.say, self.on_event, self.on_retry = config, kill, say, on_event, on_retry
        self.engines = [EngineHandle(index, actor, config.run_dir) for index, actor in enumerate(actors)]
        self.dead: list[EngineHandle] = []  # in the order of their deaths
        self.is_expected: Callable[[], bool] = lambda: False  # whether an engine starts, or will be started
        self.on_death: Callable[[EngineHandle], object] = lambda engine: None
        self.on_leave: Callable[[EngineHandle], object] = lambda engine: None
        self.on_straggler: Callable[[str], object] = lambda text: None
        self.ranks_on_one_node: Callable[[], bool] = lambda: False
        self.counted: Counter[str] = Counter()  # what happened since the last `counts`
        self.broken: BaseException | None = None  # what ended the work on the engines in the background
        self.spans = Spans()
        self._races: set[Race] = set()
        self._aborting: set[asyncio.Task[None]] = set()
        self._stragglers = Stragglers(config.rollout.groups_per_step)
        self._changed = asyncio.Event()

    @property
    def alive(self) -> list[EngineHandle]:
        """Those that a publish must reach, in the order of their places."""
        return [engine for engine in self.engines if engine.health not in (Health.STARTING, Health.DEAD)]

    @property
    def serving(self) -> list[EngineHandle]:
        """Those that take new groups."""
        return [engine for engine in self.engines if engine.health is Health.SERVING]

    def put(self, engine: EngineHandle) -> None:
        """Give an engine its place, where a dead one may have been."""
        self.engines = sorted([*(other for other in self.engines if other.index != engine.index), engine], key=lambda one: one.index)
        self.changed()

    def become(self, engine: EngineHandle, health: Health, text: str = "") -> None:
        """Change the health of an engine that is not dead."""
        if engine.health not in (health, Health.DEAD):
            engine.health = health
            self.on_event(health, engine.name, text)
            self.changed()

    def proven(self, engine: EngineHandle) -> None:
        """A publish that is over has proven the engine's weights: it may serve, or leave if it is not wanted."""
        engine.is_proven = True
        if engine.health is Health.STALE:
            if engine.life:
                self.say(f"{engine.name} is started again and serves")
            self.become(engine, Health.SERVING, "a publish has proven its weights")
        elif engine.health is Health.LEAVING and not engine.outstanding:
            self.on_leave(engine)

    def bury(self, engine: EngineHandle, cause: BaseException) -> None:
        """Take an engine out of service for good; its groups go to other engines, and a fleet starts another one in its place."""
        if engine.health is Health.DEAD:
            return
        engine.end(cause)
        self.dead.append(engine)
        self.counted["died"] += 1
        self.kill(engine.actor)
        self.on_death(engine)
        found = find_cause(RoleFailed.behind(engine.role, "died", cause), self.config)
        self.on_event("dead", engine.name, found.line)
        if self.alive or self.is_expected():  # otherwise the run ends and says so itself
            self.say(f"warning: {engine.name} died; its groups go on elsewhere. {found.line}; its log: {engine.role.log}")
        self.changed()

    def none_left(self) -> NoEngineLeft:
        """The error of a run without engines, raised from what ended the last one."""
        error = NoEngineLeft(f"all {len(self.engines)} engines have died, {self.dead[-1].name} as the last")
        error.__cause__ = RoleFailed.behind(self.dead[-1].role, "died", self.dead[-1].cause)
        return error

    async def some_alive(self) -> None:
        """Return once a publish can reach an engine; NoEngineLeft if none ever will."""
        await self._until(lambda: bool(self.alive))

    async def stranded(self) -> None:
        """Return once there are engines but none has proven weights, so that only a publish lets groups go on."""
        await self._until(self._is_stranded)

    async def respond(
        self, group_id: int, prompt: Prompt, size: int, *, temperature: float | None = None, texts: int = 0, learned: bool = True
    ) -> Scored:
        """A scored group from the least busy engine; if that engine dies, from another one with the same seeds.

        The tokens of a group that will not be `learned` never leave the engine. Where all ranks are on one node they travel in one object:
        that node needs every response, and an object for each costs far more than the few bytes in it.
        """
        words, together = learned and words_come_apart(self.config), learned and self.ranks_on_one_node()
        if learned and self.config.run.keep_capsules and not words:
            texts = size
        objects = (1 if together else size) + size * self.config.rollout.capture_routing + words if learned else 0
        deadline = float(self.config.run.deadline_s)
        ask = Ask(
            group_id=group_id, prompt=prompt, size=size, temperature=temperature, texts=texts, learned=learned, objects=objects,
            deadline_s=deadline, words=words, together=together, direct=not learned or (together and comes_by_line(self.config)),
        )  # fmt: skip
        with self._racing(Race(ask, self.bury, self.spans)) as race:
            while True:
                await self._until(lambda: bool(self.serving))
                engine = min(self.serving, key=lambda engine: (engine.outstanding, engine.index))
                if (scored := await (race.from_several(engine) if self.config.rollout.hedge else race.alone(engine))) is not None:
                    return scored
                self.on_retry(group_id)

    async def words(self, groups: Sequence[Scored]) -> list[Sequence[Text] | None]:
        """The words of every response of each group, for a capsule; None where the node that had them is gone, or they were not kept."""
        return await asyncio.gather(*(self._words(scored) for scored in groups))

    async def _words(self, scored: Scored) -> Sequence[Text] | None:
        if scored.words is None:
            return scored.texts if len(scored.texts) == len(scored.summary.rewards) else None
        try:
            async with asyncio.timeout(float(self.config.run.deadline_s)):
                found: Sequence[Text] = await cast(Any, scored.words)
        except (ray.exceptions.RayError, TimeoutError):
            return None
        return found

    def look_for_stragglers(self) -> None:
        """Name groups that have become late, the oldest of them; run each again on an idle engine if `rollout.hedge` says so."""
        now = asyncio.get_running_loop().time()
        late = self._stragglers.among([race for race in self._races if race.ask.learned], now)
        if new := [race for race in late if not race.late]:
            self.counted["stragglers"] += len(new)
            others = f"; {len(late) - 1} more are late" if len(late) > 1 else ""
            self.on_straggler(self._stragglers.describe(new[0], now) + others)
        for race in late:
            race.late = True
            idle = [engine for engine in self.serving if not engine.outstanding]
            if self.config.rollout.hedge and not race.hedged and race.engines and idle:
                race.hedged = True
                self.counted["hedged"] += 1
                self.on_event("hedged", idle[0].name, self._stragglers.describe(race, now))
                race.begin(idle[0])

    async def drop_groups(self) -> None:
        """Let every engine end the requests that it has; an engine that does not is buried."""
        await asyncio.gather(*(self._ask(engine, engine.actor.abort_all.remote()) for engine in self.alive))

    def counts(self) -> dict[str, float]:
        """Engines by health now, and what happened to engines and groups since the last call: metrics of a step."""
        kinds = Counter(engine.health for engine in self.engines)
        now = {f"engines/{health}": float(kinds[health]) for health in Health if health is not Health.DEAD}
        happened, self.counted = self.counted, Counter()
        return now | {
            "engines/died": float(happened["died"]),
            "engines/restarts": float(happened["restarts"]),
            "engines/suspected": float(happened["suspected"]),
            "groups/stragglers": float(happened["stragglers"]),
            "groups/hedged": float(happened["hedged"]),
        }

    def now(self) -> list[EngineNow]:
        """Each engine with its health and the groups it works on. Any thread may ask."""
        return [EngineNow(engine.index, str(engine.health), engine.outstanding) for engine in list(self.engines)]

    def changed(self) -> None:
        """Wake everybody who waits for an engine."""
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    def _is_stranded(self) -> bool:
        kinds = {engine.health for engine in self.engines}
        return Health.STALE in kinds and not kinds & {Health.SERVING, Health.SUSPECT}

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self.broken is not None:
                raise self.broken
            if not self.alive and not self.is_expected():
                raise self.none_left()
            await self._changed.wait()

    @contextmanager
    def _racing(self, race: Race) -> Iterator[Race]:
        """Count the race among those that run; in the end no engine works on it any more."""
        self._races.add(race)
        try:
            yield race
            self._stragglers.finished(asyncio.get_running_loop().time() - race.since)
        finally:
            self._races.discard(race)
            losers = race.end()
            for engine in losers if race.hedged else ():
                task = asyncio.create_task(self._ask(engine, engine.actor.abort.remote(race.ask.group_id, race.ask.evaluated)))
                self._aborting.add(task)
                task.add_done_callback(self._aborting.discard)

    async def _ask(self, engine: EngineHandle, call: Any) -> None:
        """Wait for a small request; an engine that fails or is late is buried."""
        try:
            await engine.answer(call, float(self.config.run.deadline_s))
        except EngineGone:
            return
        except TimeoutError as error:
            self.bury(engine, error)
        except ray.exceptions.RayError as error:
            if not has_died(error):
                raise
            self.bury(engine, error)
