"""Requests to a real engine: asked for at one moment, one after another, given up, refused, and of a core that is gone."""

import asyncio
from typing import Any

from rollout.engine.engine import Engine
from rollout.engine.requests import Prompted
from rollout.types import Prompt, Response

SIZE = 6


class Messages:
    """How many messages with requests go to the core, and how many are given up."""

    def __init__(self, engine: Engine) -> None:
        self.core = engine.llm.engine_core
        self.send, self.abort = self.core.add_request_async, self.core.abort_requests_async
        self.sent, self.aborted = 0, list[str]()
        self.core.add_request_async = self._add  # type: ignore[method-assign]
        self.core.abort_requests_async = self._give_up  # type: ignore[method-assign]

    async def _add(self, request: Any) -> None:
        self.sent += 1
        await self.send(request)

    async def _give_up(self, names: list[str]) -> None:
        self.aborted += names
        await self.abort(names)

    def since(self) -> int:
        """The messages since the last call."""
        sent, self.sent = self.sent, 0
        return sent


async def group(engine: Engine, prompt: Prompt, *, temperature: float | None = None) -> list[Response]:
    found = dict([made async for made in engine.respond_group(3, prompt, 7, SIZE, temperature)])
    return [found[member] for member in range(SIZE)]


async def gathered(engine: Engine, prompt: Prompt) -> dict[str, Any]:
    """What groups get, and what their members leave behind that nobody waits for."""
    messages, found = Messages(engine), dict[str, Any]()
    found["together"] = await group(engine, prompt)
    found["messages"] = messages.since()
    engine.requests.together = False  # as with a scheduler of the user's
    found["apart"] = await group(engine, prompt)
    found["messages_apart"] = messages.since()
    engine.requests.together = True
    found["greedy"] = await group(engine, prompt, temperature=0.0)
    messages.since()
    requests, of = engine.requests, Prompted(tuple(prompt.token_ids.tolist()), "0", 200, 1.0, True, 0)
    asked = [asyncio.ensure_future(requests.answer(of, seed)) for seed in range(SIZE)]
    await asyncio.sleep(0)  # all have asked, and none is sent
    asked[0].cancel()
    while not messages.aborted:
        await asyncio.sleep(0.002)
    found["messages_of_six"] = messages.since()
    asked[1].cancel()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    found["given_up"] = [isinstance(one, asyncio.CancelledError) for one in ended]
    found["aborted"] = len(messages.aborted)
    found["lengths"] = [len(one.outputs[0].token_ids) for one in ended if not isinstance(one, BaseException)]
    long = of._replace(context=of.context * 100)
    refused = await asyncio.gather(*(requests.answer(long, seed) for seed in range(2)), return_exceptions=True)
    found["refused"] = [f"{type(error).__name__}: {error}" for error in refused]
    found["left"] = (requests.running, len(requests._gathered), len(engine.llm.output_processor.request_states))
    return found


async def of_a_dead_core(engine: Engine, prompt: Prompt) -> dict[str, Any]:
    """What those get who wait as the core dies, and who asks afterwards; the engine is of no use any more."""
    of = Prompted(tuple(prompt.token_ids.tolist()), "0", 300, 1.0, True, 0)
    waiting = [asyncio.ensure_future(engine.requests.answer(of, seed)) for seed in range(2)]
    while not engine.llm.output_processor.request_states:
        await asyncio.sleep(0.002)
    for process in engine.processes():
        process.kill()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    ended += await asyncio.gather(engine.requests.answer(of, 2), return_exceptions=True)
    return {"died": [type(error).__name__ for error in ended], "running": engine.requests.running}
