"""Watches the progress of engines: a suspect gets no new groups, and one that makes none for twice `rollout.stall_s` is killed.

An engine makes progress when its core works on requests, or answers where it has none, and its actor says so. Being slow is no reason.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

import ray

from cluster.actors.died import has_died
from cluster.actors.engines import EnginePool
from cluster.actors.fleet.handle import EngineGone, EngineHandle, Health
from configs.errors import EngineFailed
from rollout.engine.pulse import Pulse

OFTEN_S = 2.0  # between pulses, so that the death of an idle engine is noticed soon
PARTS = 4  # at least so many pulses in `stall_s`: an engine is killed after at most 2 + 2/PARTS times `stall_s`


class EngineStalled(EngineFailed):
    """An engine lived, and made no progress."""


class Progress:
    """What an engine's pulses say, from one to the next."""

    def __init__(self, now: float) -> None:
        self.moved_at = now
        self.pulse: Pulse | None = None
        self.made: tuple[int, int] = (-1, -1)
        self.beats = -1

    def observe(self, pulse: Pulse | None, now: float) -> None:
        """Take in a pulse, or None if the actor did not answer."""
        self.pulse = pulse
        if pulse is None:
            return
        made, beats = (pulse["tokens"], pulse["steps"]), pulse.get("beats")
        if pulse.get("stopped"):
            moved = False
        elif pulse.get("updating"):
            moved = True
        elif pulse["requests"] and not pulse["paused"]:
            moved = made != self.made
        else:
            moved = beats is None or beats != self.beats
        self.made, self.beats = made, -1 if beats is None else beats
        if moved:
            self.moved_at = now

    def describe(self, now: float) -> str:
        """What is missing, in words."""
        since = f"for {now - self.moved_at:.0f} s"
        if self.pulse is None:
            return f"its actor has not answered {since}"
        if self.pulse.get("stopped"):
            return f"a process of its core has been stopped {since}"
        if self.pulse["requests"] and not self.pulse["paused"]:
            return f"it has made no token {since}, with {self.pulse['requests']} requests waiting"
        return f"its core has not answered {since}"


class Watch:
    """Follows the pulse of engines, each in a task of its own that ends with the engine."""

    def __init__(self, pool: EnginePool) -> None:
        self.pool, self.stall_s = pool, float(pool.config.rollout.stall_s)
        self.every_s = min(OFTEN_S, self.stall_s / PARTS)

    async def follow(self, engine: EngineHandle) -> None:
        """Judge the engine by its pulses until it is out of service."""
        loop = asyncio.get_running_loop()
        progress, asked = Progress(loop.time()), None
        while engine.health is not Health.DEAD:
            due = loop.time() + self.every_s
            asked = asked or asyncio.ensure_future(_pulse(engine))
            try:
                pulse = await engine.answer(asyncio.shield(asked), self.every_s)
                asked = None
            except TimeoutError:
                pulse = None
            except EngineGone:
                break
            except ray.exceptions.RayError as error:
                if not has_died(error):
                    raise
                self.pool.bury(engine, error)
                break
            now = loop.time()
            progress.observe(pulse, now)
            if (late := now - due) > self.every_s:
                progress.moved_at += late  # this process itself stood still, so that time says nothing about the engine
            self._judge(engine, progress, now)
            await asyncio.sleep(max(0.0, due - loop.time()))
        if asked is not None:
            asked.cancel()

    def _judge(self, engine: EngineHandle, progress: Progress, now: float) -> None:
        stood_s = now - progress.moved_at
        if stood_s > 2 * self.stall_s:
            self.pool.bury(
                engine, EngineStalled(f"{engine.name} was killed: {progress.describe(now)} (rollout.stall_s = {self.stall_s:g})")
            )
        elif stood_s > self.stall_s and engine.health is Health.SERVING:
            self.pool.counted["suspected"] += 1
            self.pool.say(f"warning: {engine.name} is suspect and gets no new groups: {progress.describe(now)}")
            self.pool.become(engine, Health.SUSPECT, progress.describe(now))
        elif stood_s <= self.stall_s and engine.health is Health.SUSPECT:
            self.pool.say(f"{engine.name} makes progress again")
            self.pool.become(engine, Health.SERVING, "it makes progress again")

    async def for_stragglers(self) -> None:
        """Look for late groups until cancelled."""
        while True:
            await asyncio.sleep(OFTEN_S)
            self.pool.look_for_stragglers()


async def _pulse(engine: EngineHandle) -> Any:
    call: Awaitable[Any] = engine.actor.pulse.remote()
    return await call
