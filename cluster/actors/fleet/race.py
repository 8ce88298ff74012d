"""One group until it is finished: on one engine, on the next one if that dies, or on two at once, of which the faster counts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from cluster.actors.died import has_died
from cluster.actors.fleet.handle import EngineGone, EngineHandle
from cluster.causes.roles import RoleLate
from cluster.record.metrics.timeline.spans import Spans
from rollout.types import Prompt
from rollout.window.scored import Reference, References, Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What an engine is asked for: the same on every engine, so that every engine samples the same tokens from the same weights."""

    group_id: int
    prompt: Prompt
    size: int
    temperature: float | None
    texts: int
    learned: bool  # tokens of other groups never leave the engine
    objects: int  # that the engine returns beside the head
    deadline_s: float
    words: bool = False  # whether the last of these objects has the words of all responses
    together: bool = False  # whether the first of them has the tokens of all responses
    direct: bool = False  # whether all of it may come over the line to the engine, and stay in the driver's memory

    @property
    def evaluated(self) -> bool:
        return self.temperature is not None

    @property
    def named(self) -> tuple[str, str]:
        """Its name and kind in the timeline."""
        return ("held-out prompt", "evaluate") if self.evaluated else (f"group {self.group_id}", "generate")

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What the engine's `respond` is called with."""
        return self.group_id, self.prompt, self.size, self.temperature, self.texts, self.learned, self.together

    def of(self, actor: Any) -> tuple[Any, Sequence[Any]]:
        """Ask an engine's actor; returns its head and its parts, to be awaited."""
        made = actor.respond.options(num_returns=1 + self.objects).remote(*self.arguments)
        if not self.learned:
            return made, ()
        head, *parts = made
        return head, parts


class Race:
    """A group until it is finished: on an engine `alone`, or `from_several` where `begin` asks a second one if it is late."""

    def __init__(self, ask: Ask, bury: Callable[[EngineHandle, BaseException], object], spans: Spans | None = None) -> None:
        self.ask, self.bury, self.spans = ask, bury, spans or Spans()
        self.since = asyncio.get_running_loop().time()
        self.late = False  # a line has named it
        self.hedged = False
        self._only: EngineHandle | None = None
        self._tries: dict[asyncio.Task[Scored], EngineHandle] = {}
        self._finished: asyncio.Queue[asyncio.Task[Scored]] | None = None  # where several engines may be asked

    @property
    def engines(self) -> list[EngineHandle]:
        """The engines that work on it now."""
        return [self._only] if self._only is not None else list(self._tries.values())

    def begin(self, engine: EngineHandle) -> None:
        """Ask this engine, too."""
        self._finished = self._finished or asyncio.Queue()
        task = asyncio.create_task(self._try(engine), name=f"group {self.ask.group_id} on {engine.name}")
        self._tries[task] = engine
        engine.outstanding += 1
        task.add_done_callback(lambda _: engine.finished_one())
        task.add_done_callback(self._finished.put_nowait)

    async def alone(self, engine: EngineHandle) -> Scored | None:
        """Ask this engine and never a second one beside it, which takes no task of its own; None if it is gone."""
        self._only = engine
        engine.outstanding += 1
        try:
            return await self._try(engine)
        except EngineGone:
            return None
        finally:
            self._only = None
            engine.finished_one()

    async def from_several(self, engine: EngineHandle) -> Scored | None:
        """Ask this engine, and take the first result of all that are asked; None once each is gone. An error of a living one is raised."""
        self.begin(engine)
        assert self._finished is not None
        while self._tries:
            task = await self._finished.get()
            del self._tries[task]
            try:
                return task.result()
            except EngineGone:
                continue
        return None

    def end(self) -> list[EngineHandle]:
        """Stop waiting; returns the engines that still work on it."""
        losers = self.engines
        for task in self._tries:
            task.cancel()
        self._tries.clear()
        return losers

    async def _try(self, engine: EngineHandle) -> Scored:
        ask = self.ask
        asked = self.spans.begin(engine.name, *ask.named)
        try:
            (summary, shown), parts = await self._answer(engine)
            self.spans.answered(asked, summary.answering, summary.scoring_s)
            tokens = references(parts, ask.size, words=ask.words, together=ask.together) if ask.learned else None
            return Scored(summary=summary, texts=shown, tokens=tokens, engine=engine.index, life=engine.life, prompt=ask.prompt)
        except ray.exceptions.RayError as error:
            if not has_died(error):
                raise
            self.bury(engine, error)
            raise EngineGone(f"{engine.name} died") from error
        except TimeoutError as error:
            raise RoleLate(engine.role, f"did not finish group {ask.group_id}", ask.deadline_s) from error
        finally:
            self.spans.end(asked)

    async def _answer(self, engine: EngineHandle) -> tuple[Any, Sequence[Any]]:
        """A group's head and its parts: over the line to the engine, or through Ray where the line cannot answer."""
        ask = self.ask
        if ask.direct and (said := await engine.answer(engine.line.ask("respond", [ask.arguments]), ask.deadline_s)) is not None:
            (made,) = said
            if isinstance(made, ray.exceptions.RayTaskError):
                raise made.as_instanceof_cause()
            head, *parts = made
            return head, parts
        coming, parts = ask.of(engine.actor)
        return await engine.answer(coming, ask.deadline_s), parts


def references(parts: Sequence[Any], size: int, *, words: bool = False, together: bool = False) -> References:
    """The objects of a group of `size` responses: the tokens of each, then the recorded experts of each if there are any.

    With `together` the first one has the tokens of all of them, with `words` a last one has the words of all.
    """
    made = [Reference(part) for part in parts]
    last = made.pop() if words else None
    if together:
        made[:1] = made[:1] * size
    return References(tokens=made[:size], experts=made[size:], words=last)
