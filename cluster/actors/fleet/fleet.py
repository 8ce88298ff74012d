"""Keeps as many engines as wanted: starts them in free places, again where one died, and lets the newest leave where there are too many.

A run waits for a start only if it has no other engine. An engine that was started is stale until a publish has proven its weights.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol

import ray

from cluster.actors.engines import EnginePool
from cluster.actors.fleet.handle import EngineGone, EngineHandle, Health
from cluster.actors.fleet.restarts import Restarts
from cluster.actors.fleet.watch import Watch
from cluster.actors.process import log_path
from cluster.causes.cause import find_cause
from cluster.causes.roles import RoleFailed, RoleLate
from configs.arithmetic import counted
from configs.errors import EngineFailed

SLOWER = 3.0  # times the slowest start so far: how long another one may take
LOOK_S = 5.0  # between looks for a free place, where there was none


class EngineLeft(EngineFailed):
    """Fewer engines are wanted, and this one has left; nothing failed."""


class NoPlace(EngineFailed):
    """The resources of an engine's place are not free."""


class StartTooSlow(EngineFailed):
    """An engine takes far longer to start than earlier ones: it hangs."""


class Places(Protocol):
    """Where engines run."""

    async def open(self, index: int) -> bool:
        """Reserve the place of engine `index`, unless it is reserved; False if its resources are not free now."""

    async def close(self, index: int) -> None:
        """Give the place of engine `index` back."""


class Fleet:
    """The engines of a run over its whole length."""

    def __init__(
        self, pool: EnginePool, places: Places, launch: Callable[[int], Any], end: Callable[[Any], Awaitable[object]], *, wanted: int
    ) -> None:
        """`launch(index)` returns an actor that is starting; `end(actor)` shuts one down; `wanted` is the number of engines."""
        config = pool.config
        self.config, self.pool, self.places, self.launch, self.end = config, pool, places, launch, end
        self.wanted = wanted
        self.watch = Watch(pool)
        self.slowest_s: float | None = None  # of the starts that succeeded
        self._restarts: dict[int, Restarts] = {}
        self._lives: dict[int, int] = {}
        self._fallen: set[int] = set()  # places whose last engine died or could not start
        self._emptying: set[int] = set()  # places whose engine has left, and is ending
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._first: dict[int, asyncio.Task[EngineHandle]] = {}  # the starts with which the run begins
        self._closed = False
        pool.is_expected, pool.on_death, pool.on_leave = self.is_expected, self._on_death, self._on_leave

    async def start_all(self) -> None:
        """Start the engines with which the run begins; what the first of them raises if none can start.

        One that fails, or takes far longer than the first, costs the run only itself. Where GPUs are shared each is needed.
        """
        self._first = {index: asyncio.create_task(self.start(index)) for index in range(self.wanted)}
        begun = False
        try:
            await (asyncio.gather(*self._first.values()) if self.config.placement.share else self._some_ready(self._first.values()))
            begun = True
        finally:
            for start in () if begun else self._first.values():
                start.cancel()

    async def _some_ready(self, starts: Iterable[asyncio.Task[EngineHandle]]) -> None:
        """Wait for these starts, but for those that take far longer than the first of them; the error of the first if none is ready."""
        waiting, patience = set(starts), None
        done = waiting
        while waiting and done:
            done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if self.slowest_s is not None:
                patience = SLOWER * self.slowest_s + float(self.config.rollout.stall_s)
        if self.slowest_s is None:
            await self._first[0]

    async def start(self, index: int) -> EngineHandle:
        """Start the engine of a place and wait for it; RoleFailed if it cannot start, RoleLate if it takes too long."""
        life = self._lives.get(index, -1) + 1
        self._lives[index] = life
        loop = asyncio.get_running_loop()
        began = loop.time()
        engine = EngineHandle(index, self.launch(index), self.config.run_dir, life=life, health=Health.STARTING)
        self.pool.put(engine)
        self.pool.on_event("starting", engine.name, f"life {life}")
        deadline = float(self.config.run.deadline_s)
        patience = deadline if self.slowest_s is None else SLOWER * self.slowest_s + float(self.config.rollout.stall_s)
        try:
            await engine.answer(engine.actor.ready.remote(), min(deadline, patience))
        except TimeoutError as error:
            if patience < deadline:
                slow = StartTooSlow(f"{engine.name} was not ready after {patience:.0f} s, far longer than starts before it took")
                raise self._failed(engine, RoleFailed(engine.role, "could not start")) from slow
            raise self._failed(engine, RoleLate(engine.role, "was not ready", deadline)) from error
        except ray.exceptions.RayError as error:
            raise self._failed(engine, RoleFailed(engine.role, "could not start")) from error
        self.slowest_s = max(self.slowest_s or 0.0, loop.time() - began)
        self.pool.become(engine, Health.STALE, "it waits for a publish to prove its weights")
        return engine

    def begin(self) -> None:
        """From now on watch the engines and replace those that die, in the background."""
        self._spawn(self.watch.for_stragglers(), "look for stragglers")
        for engine in self.pool.alive:
            self._follow(engine)
        for index, start in self._first.items():
            if not start.done() or start.exception() is not None:
                self._begin(index, self._settle(index, start))
        self._reconcile()

    async def close(self) -> None:
        """Stop all of that. Engines that run, or start, are left for the caller to end."""
        self._closed = True
        tasks = [*self._tasks, *self._first.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def want(self, count: int) -> None:
        """From now on keep `count` engines, at least one: more join at the next publish, the newest of too many leave after it."""
        if count < 1:
            raise ValueError(f"a run needs at least 1 engine, got {count}")
        self.wanted = count
        self._reconcile()

    def is_expected(self) -> bool:
        """Whether an engine starts now, or will be started."""
        if self._starting or any(engine.health is Health.STARTING for engine in self.pool.engines):
            return True
        return not self._closed and any(self._may_start(index) for index in self._free_places())

    def _on_leave(self, engine: EngineHandle) -> None:
        """End an engine that is not wanted and has nothing left to do. No publish runs that would miss it."""
        left = EngineLeft(f"{engine.name} has left: {counted(self.wanted, 'engine')} wanted")
        engine.end(left)
        self.pool.on_event("left", engine.name, str(left))
        self.pool.say(str(left))
        self.pool.changed()
        self._emptying.add(engine.index)
        self._spawn(self._leave(engine), f"{engine.name} leaves")

    async def _leave(self, engine: EngineHandle) -> None:
        await self.end(engine.actor)
        await self.places.close(engine.index)
        self._emptying.discard(engine.index)
        self._reconcile()

    def _reconcile(self) -> None:
        """Start what is missing, and let leave what is too much."""
        if self._closed:
            return
        staying = [engine for engine in self.pool.engines if engine.health not in (Health.DEAD, Health.LEAVING)]
        for engine in staying[self.wanted :]:
            if engine.health is not Health.STARTING:
                self.pool.become(engine, Health.LEAVING, f"{counted(self.wanted, 'engine')} wanted")
        leaving = [engine for engine in self.pool.engines if engine.health is Health.LEAVING]
        for engine in leaving[: max(0, self.wanted - len(staying))]:
            self.pool.become(engine, Health.SERVING if engine.is_proven else Health.STALE, "it stays after all")
        for index in self._free_places():
            if index not in self._starting and self._may_start(index):
                self._begin(index, self._fill(index))

    def _begin(self, index: int, work: Coroutine[Any, Any, None]) -> None:
        task = self._starting[index] = self._spawn(work, f"start engine {index}")
        task.add_done_callback(partial(self._filled, index))

    def _filled(self, index: int, task: asyncio.Task[None]) -> None:
        del self._starting[index]
        self._reconcile()
        self.pool.changed()

    def _may_start(self, index: int) -> bool:
        return index not in self._fallen or self._budget(index).left(self._now()) > 0

    def _free_places(self) -> list[int]:
        """The places that should have an engine and have none."""
        living = {engine.index for engine in self.pool.engines if engine.health is not Health.DEAD} | self._emptying
        missing = self.wanted - len([engine for engine in self.pool.engines if engine.health not in (Health.DEAD, Health.LEAVING)])
        free = [index for index in range(self.wanted + len(living)) if index not in living]
        return free[: max(0, missing)]

    async def _fill(self, index: int) -> None:
        """Start an engine in a free place."""
        if index in self._fallen:
            self.pool.counted["restarts"] += 1
            await asyncio.sleep(self._budget(index).take(self._now()))
        await self._settle(index, self._start_in(index))

    async def _start_in(self, index: int) -> EngineHandle:
        await self._open(index)
        return await self.start(index)

    async def _settle(self, index: int, start: Awaitable[EngineHandle]) -> None:
        """Follow an engine once it has started; a start that fails is said and counts as a restart."""
        try:
            engine = await start
        except (RoleFailed, RoleLate, NoPlace) as error:
            self._fallen.add(index)
            self._budget(index).failed += 1
            left = self._budget(index).left(self._now())
            cause = find_cause(error, self.config)
            then = f"{left} of {self.config.rollout.restarts} restarts left" if left else "it is not started again"
            log = log_path(self.config.run_dir, f"engine-{index}")
            self.pool.say(f"warning: engine {index} could not start: {cause.line}; {then}; its log: {log}")
            return
        except EngineGone:
            return
        self._fallen.discard(index)
        self._budget(index).failed = 0
        self._follow(engine)
        self._reconcile()  # fewer engines may be wanted by now

    async def _open(self, index: int) -> None:
        deadline = self._now() + float(self.config.run.deadline_s)
        while not await self.places.open(index):
            if self._now() > deadline:
                raise NoPlace(f"engine {index} found no free resources within run.deadline_s ({self.config.run.deadline_s:g} s)")
            await asyncio.sleep(LOOK_S)

    def _failed(self, engine: EngineHandle, error: RoleFailed | RoleLate) -> RoleFailed | RoleLate:
        """The error, after the engine that could not start is out of service."""
        if engine.health is not Health.DEAD:
            engine.end(error)
            self.pool.dead.append(engine)
            self.pool.kill(engine.actor)
            self.pool.on_event("dead", engine.name, str(error))
        return error

    def _budget(self, index: int) -> Restarts:
        rollout = self.config.rollout
        most = 0 if self.config.placement.share else rollout.restarts
        return self._restarts.setdefault(index, Restarts(most, float(rollout.restart_window_s)))

    def _follow(self, engine: EngineHandle) -> None:
        self._spawn(self.watch.follow(engine), f"watch {engine.name}")

    def _on_death(self, engine: EngineHandle) -> None:
        self._fallen.add(engine.index)
        self._reconcile()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A background task. What it raises ends the run, since each wait for an engine raises it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.pool.broken = error
            self.pool.changed()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
