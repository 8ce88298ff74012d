"""An engine's door for agents: an OpenAI-compatible API on loopback. Nothing listens before the first agent comes.

```
POST /v1/chat/completions   one turn of the model        GET /v1/models   the one model that there is
POST /v1/begin              the agent's process has started; from now on its deadlines count
```
The key of a request says which response of which group it belongs to. It is made at random for each, and no log, file or error has it.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from aiohttp import web

from rollout.door.episode import AgentEpisode
from rollout.door.request import Refused, Request, read_request
from rollout.door.said import Said, chunks, completion
from rollout.engine.pulse import GroupAtWork

HOST = "127.0.0.1"
MAX_BODY_BYTES = 16 << 20
MODEL = "policy"


class Visit:
    """An agent that is let in: its episode, and whether it waits for the model or the model for it."""

    def __init__(self, episode: AgentEpisode, group: GroupAtWork, temperatures: tuple[float, ...]) -> None:
        self.episode, self.temperatures = episode, temperatures
        self.key = secrets.token_urlsafe(32)
        self.begun = False
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # gets what the engine raises
        self.thought_s = 0.0  # in which nothing was asked of the model
        self._group = group
        self._working: set[asyncio.Task[Any]] = set()
        self._since = time.monotonic()
        self._thinks = ExitStack()
        self._thinks.enter_context(group.answers())  # until it asks for a turn, the engine has nothing to do for it

    @property
    def thinking_s(self) -> float:
        """For how long it has asked nothing of the model; 0 while a request is answered, and before its process has begun."""
        return time.monotonic() - self._since if self.begun and not self._working else 0.0

    def begin(self) -> None:
        """Its process has started; Refused where that was said before."""
        if self.begun:
            raise Refused(409, "the agent of this episode was started before, so that its turns belong to two processes", code="twice")
        self.begun, self._since = True, time.monotonic()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """While it waits for a turn of the model."""
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        if not self._working:
            self.thought_s += self.thinking_s
            self._thinks.close()
        self._working.add(task)
        try:
            yield
        finally:
            self._working.discard(task)
            if not self._working:
                self._since = time.monotonic()
                self._thinks.enter_context(self._group.answers())

    def end(self) -> None:
        """Record nothing more: requests in progress end."""
        self.thought_s += self.thinking_s
        for task in self._working:
            task.cancel()
        self._thinks.close()
        if self.broken.done():
            self.broken.exception()  # one response of the group raises it; asyncio would print it for the others


class Door:
    """Serves the agents of one engine on the event loop that first lets one in."""

    def __init__(self) -> None:
        self.visits: dict[str, Visit] = {}  # by key
        self._runner: web.AppRunner | None = None
        self._opening = asyncio.Lock()
        self._port = 0

    async def open(self) -> str:
        """The base address of the API, which listens from now on."""
        async with self._opening:
            if self._runner is None:
                app = web.Application(client_max_size=MAX_BODY_BYTES)
                app.router.add_post("/v1/chat/completions", self._complete)
                app.router.add_post("/v1/begin", self._begin)
                app.router.add_get("/v1/models", self._models)
                # A client that goes away ends its request; no log of requests.
                runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
                await runner.setup()
                site = web.TCPSite(runner, HOST, 0)
                await site.start()
                self._runner, self._port = runner, runner.addresses[0][1]
        return f"http://{HOST}:{self._port}/v1"

    async def close(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @contextmanager
    def let_in(self, visit: Visit) -> Iterator[Visit]:
        """Answer requests with the key of this visit while it lasts."""
        self.visits[visit.key] = visit
        try:
            yield visit
        finally:
            del self.visits[visit.key]
            visit.end()

    def _visit(self, request: web.Request) -> Visit:
        kind, _, key = request.headers.get("Authorization", "").partition(" ")
        visit = self.visits.get(key.strip()) if kind.lower() == "bearer" else None
        if visit is None:
            raise Refused(401, "no episode has this key: it is wrong, or its episode is over", code="invalid_api_key")
        return visit

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        try:
            self._visit(request).begin()
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        return web.json_response({})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        try:
            self._visit(request)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "gatewise"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            visit = self._visit(request)
            asked = read_request(await body_of(request), visit.temperatures)
            said = await turn_of(visit, asked)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        name, now, model = f"chatcmpl-{said.number}", int(time.time()), asked.model or MODEL
        if not asked.stream:
            return web.json_response(completion(said, name=name, model=model, now=now))
        return await stream(request, chunks(said, name=name, model=model, now=now, usage=asked.usage))


async def body_of(request: web.Request) -> object:
    """The JSON of a request; Refused where it has none, or is too long."""
    try:
        return await request.json()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, f"the body has more than {MAX_BODY_BYTES >> 20} MB, needed at most that") from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from None


async def turn_of(visit: Visit, asked: Request) -> Said:
    """One turn of the model. What the engine raises also breaks the visit, as it breaks groups without an agent."""
    try:
        with visit.waits():
            return await visit.episode.complete(asked)
    except Refused:
        raise
    except Exception as error:  # of vLLM's, for whoever waits for the group
        if not visit.broken.done():
            visit.broken.set_exception(error)
        raise Refused(503, "the engine failed; the group starts again on another") from error


async def stream(request: web.Request, parts: Iterator[dict[str, Any]]) -> web.StreamResponse:
    """Server-sent events. The turn is finished before its first chunk: it is recorded as a whole or not at all."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for part in parts:
        await response.write(f"data: {json.dumps(part)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response
