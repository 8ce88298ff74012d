"""Known bugs, planted one at a time: a laboratory that lets one of them pass proves nothing about the code without them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cluster.actors.engines import EnginePool
from cluster.actors.fleet.handle import EngineHandle, Health
from cluster.actors.learners import Learners
from cluster.record import checkpoint
from cluster.record.ledger import Ledger
from cluster.record.metrics import sinks
from rollout.window.stream import PromptStream
from rollout.window.window import GroupWindow

Mutant = Callable[[], AbstractContextManager[Any]]


def slot_too_many() -> AbstractContextManager[Any]:
    """The window frees a slot more than were taken."""
    really = GroupWindow.release

    async def release(self: GroupWindow[Any], count: int) -> None:
        self._free.release()
        await really(self, count)

    return patch.object(GroupWindow, "release", release)


def group_forgotten() -> AbstractContextManager[Any]:
    """A group whose engine died goes nowhere."""
    really = EnginePool.respond

    async def respond(self: EnginePool, *args: Any, **kwargs: Any) -> Any:
        dead = len(self.dead)
        scored = await really(self, *args, **kwargs)
        if len(self.dead) > dead:
            await asyncio.Event().wait()
        return scored

    return patch.object(EnginePool, "respond", respond)


def ledger_in_memory() -> AbstractContextManager[Any]:
    """The ledger is not flushed before a checkpoint promises that its steps are on record."""
    return patch.object(Ledger, "flush", lambda _: None)


def metrics_in_memory() -> AbstractContextManager[Any]:
    """The same for the metrics."""
    return patch.object(sinks.JsonLines, "flush", lambda _: None)


def damage_unseen() -> AbstractContextManager[Any]:
    """A checkpoint counts as whole if it has a state, whatever became of its other files."""
    return patch.object(checkpoint, "faults", lambda folder, **_: [] if (folder / "state.json").is_file() else ["no state"])


def nothing_loaded() -> AbstractContextManager[Any]:
    """The ranks of a resumed run keep the model that the run began with."""

    async def load(self: Learners, folder: Path) -> None:
        await self.all("node")

    return patch.object(Learners, "load", load)


def pending_lost() -> AbstractContextManager[Any]:
    """A checkpoint forgets the newest group that was submitted and not settled."""
    really = GroupWindow.pending
    return patch.object(GroupWindow, "pending", property(lambda window: really.__get__(window)[:-1]))


def undone_steps_stay() -> AbstractContextManager[Any]:
    """A resumed run keeps the metrics of steps that it learns again."""
    return patch.object(sinks, "cut_lines", lambda *_: None)


def other_prompts_on_resume() -> AbstractContextManager[Any]:
    """Which prompt a group gets depends on how often the stream was asked."""
    really = PromptStream.index

    def index(self: PromptStream, group_id: int) -> int:
        self.asked = getattr(self, "asked", 0) + 1  # type: ignore[attr-defined]
        return really(self, group_id + (self.asked == 30))  # type: ignore[attr-defined]

    return patch.object(PromptStream, "index", index)


def saved_before_it_is_written() -> AbstractContextManager[Any]:
    """A checkpoint is committed while its shards are still being written."""
    really = Learners.write

    async def write(self: Learners, folder: Path) -> list[dict[str, dict[str, Any]]]:
        self.writing = asyncio.ensure_future(really(self, folder))  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        return [{} for _ in self.actors]

    return patch.object(Learners, "write", write)


def unproven_serves() -> AbstractContextManager[Any]:
    """An engine that has just started takes groups before a publish has proven its weights."""
    really = EnginePool.become

    def become(self: EnginePool, engine: EngineHandle, health: Health, *args: Any, **kwargs: Any) -> None:
        really(self, engine, Health.SERVING if health is Health.STALE else health, *args, **kwargs)

    return patch.object(EnginePool, "become", become)


MUTANTS: Mapping[str, Mutant] = {
    "the window frees a slot too many": slot_too_many,
    "a dead engine's group goes nowhere": group_forgotten,
    "the ledger is not flushed before a checkpoint": ledger_in_memory,
    "the metrics are not flushed before a checkpoint": metrics_in_memory,
    "an engine serves before its weights are proven": unproven_serves,
    "a damaged checkpoint passes for a whole one": damage_unseen,
    "a checkpoint is committed while it is written": saved_before_it_is_written,
    "a resumed run does not load its checkpoint": nothing_loaded,
    "a pending group is not saved": pending_lost,
    "undone steps stay in the metrics": undone_steps_stay,
    "a group's prompt depends on how often it is asked for": other_prompts_on_resume,
}


def missed(run: Callable[[int], Sequence[str]], name: str, seeds: Sequence[int]) -> int | None:
    """The number of schedules of `seeds` that pass before one catches the mutant; None if all pass. `run` returns a seed's violations."""
    with MUTANTS[name]():
        return next((count for count, seed in enumerate(seeds) if run(seed)), None)
