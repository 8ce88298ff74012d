"""Engine actors that hang, die, stall and start as a test tells them, in the way that Ray's handles are called."""

import asyncio
from types import SimpleNamespace
from typing import Any

import ray

from rollout.engine.pulse import Pulse
from tests.toys.run import toy_summary


class ToyEngineActor:
    """Generates a group in `takes_s`, a token a tick of its pulse; `life` numbers the actors of one place."""

    def __init__(self, index: int = 0, life: int = 0) -> None:
        self.index, self.life = index, life
        self.starts = asyncio.Event()
        self.dead = asyncio.Event()
        self.frozen = asyncio.Event()  # its core does nothing any more, but its actor answers
        self.mute = False  # its actor does not answer either
        self.takes_s = 1.0
        self.asked: list[int] = []
        self.aborted: list[tuple[int, bool]] = []
        self.dropped = 0
        self.tokens = self.requests = 0
        self.paused = False
        self.respond = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self._ask))

    def __getattr__(self, name: str) -> SimpleNamespace:
        if name.startswith("_"):
            raise AttributeError(name)
        return SimpleNamespace(remote=lambda *args: asyncio.ensure_future(self._unless_dead(self._method(name, *args))))

    async def _method(self, name: str, *args: Any) -> Any:
        if name == "ready":
            await self.starts.wait()
            return "127.0.0.1"
        if self.mute:
            await asyncio.Event().wait()
        if name == "line":
            return ""
        if name == "pulse":
            self.tokens += not self.frozen.is_set()
            return Pulse(tokens=self.tokens, steps=self.tokens, beats=self.tokens, requests=self.requests, paused=self.paused)
        if name == "abort":
            self.aborted.append((args[0], args[1]))
        elif name == "abort_all":
            self.dropped += 1
        else:
            raise AttributeError(name)
        return None

    async def _unless_dead(self, work: Any) -> Any:
        working, death = asyncio.ensure_future(work), asyncio.ensure_future(self.dead.wait())
        try:
            await asyncio.wait((working, death), return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise ray.exceptions.RayActorError(error_msg="The actor died unexpectedly.")
            return working.result()
        finally:
            working.cancel()
            death.cancel()

    def _ask(
        self, group_id: int, prompt: Any, size: int, temperature: float | None, texts: int, learned: bool, together: bool
    ) -> list[Any]:
        self.asked.append(group_id)

        async def head() -> Any:
            self.requests += size
            try:
                await asyncio.sleep(self.takes_s)
                if self.frozen.is_set() or self.mute:
                    await asyncio.Event().wait()
                return toy_summary(group_id, [1.0] * size), []
            finally:
                self.requests -= size

        made = asyncio.ensure_future(self._unless_dead(head()))
        return [made, *(f"{group_id}.{member} of {self.index}.{self.life}" for member in range(size))] if learned else made  # type: ignore[return-value]


def kill(actor: ToyEngineActor) -> None:
    """As `ray.kill`."""
    actor.dead.set()
