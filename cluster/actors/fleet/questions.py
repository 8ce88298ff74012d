"""What an engine asks the reward actor: verdicts on finished responses, and answers to turns of an episode."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from cluster.actors.fleet.line import Line
from configs.schema import Config
from reward.asked import Asked, Wants
from reward.own.name import is_own
from reward.scorer import used_checkers
from rollout.transcript.episode import Answer
from rollout.types import Verdict

T = TypeVar("T")
TOGETHER = 32  # questions of one call, at most: so many wait for the slowest answer among them
WAIT_S = 0.01  # for a call in flight, at most: a call of its own costs as much CPU time as dozens of questions
HOLD_S = 0.25  # for a verdict that nobody waits for yet, at most, so that many share a call and yet a slow checker begins early
SLOW_S = 0.25  # an answer that took so long has cost far more than a call of its own


class Arrivals(Generic[T]):
    """Questions that arrive in one turn of the event loop share a call, and so do those that arrive while a call is in flight.

    These wait until it is back, or for WAIT_S: nobody waits for a slow answer to another question. What is not urgent goes with the next
    question that is, or after HOLD_S.
    """

    def __init__(self, ask: Callable[[Sequence[Asked]], Awaitable[Sequence[T]]], most: int | None = None) -> None:
        """`ask` returns the results in order; a call has `most` questions at most."""
        self.ask, self.most = ask, most
        self._waiting: list[tuple[Asked, asyncio.Future[T]]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._due = inf  # when those that wait are asked
        self._send_at: asyncio.Handle | None = None

    def put(self, asked: Asked, *, urgent: bool = True) -> asyncio.Future[T]:
        """A future for the result."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        self._waiting.append((asked, result))
        if urgent:
            self.hurry()
        else:
            self._wait(HOLD_S)
        return result

    def hurry(self) -> None:
        """From now on somebody waits for the results."""
        if self._waiting:
            self._wait(WAIT_S if self._calls else 0.0)

    def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if (due := loop.time() + seconds) < self._due:
            self._stop_waiting()
            self._due, self._send_at = due, loop.call_later(seconds, self._send) if seconds else loop.call_soon(self._send)

    def _stop_waiting(self) -> None:
        if self._send_at is not None:
            self._send_at.cancel()
        self._due, self._send_at = inf, None

    def _send(self) -> None:
        self._stop_waiting()
        arrivals, self._waiting = self._waiting, []
        most = self.most or len(arrivals)
        for first in range(0, len(arrivals), most):
            task = asyncio.create_task(self._call(arrivals[first : first + most]))
            self._calls.add(task)
            task.add_done_callback(self._came_back)

    def _came_back(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not self._calls and self._due <= asyncio.get_running_loop().time() + WAIT_S:
            self._send()

    async def _call(self, arrivals: Sequence[tuple[Asked, asyncio.Future[T]]]) -> None:
        try:
            results = await self.ask([asked for asked, _ in arrivals])
        except Exception as error:
            # The groups that wait for these results raise it.
            for _, waiting in arrivals:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), result in zip(arrivals, results, strict=True):
            if not waiting.done():
                waiting.set_result(result)


class Questions:
    """One engine's way to the reward actor of its node."""

    def __init__(self, config: Config, reward: Any, line: Line | None = None) -> None:
        """Questions about what is held for an episode go through Ray, in one order with `leave`; `line` carries the others."""
        self.config, self.reward, self.line = config, reward, line
        self._wants: Wants | None = None  # not known before the reward actor is ready
        self._scores: Arrivals[Verdict] = Arrivals(partial(self._ask, "score"))
        self._replies: Arrivals[Answer] = Arrivals(partial(self._ask, "reply"), TOGETHER)
        self._scores_alone: Arrivals[Verdict] = Arrivals(lambda asked: reward.score.remote(asked))
        self._slow: set[str] = set()  # checkers whose last answer was slow
        self._leaving: set[asyncio.Future[None]] = set()

    async def wants(self) -> Wants:
        """What the user's functions ask for; nothing where the config names none, as data may name none."""
        if self._wants is None:
            asks = self.config.tools.use or any(map(is_own, used_checkers(self.config)))
            self._wants = await self.reward.wants.remote() if asks else Wants()
        return self._wants

    def score(self, asked: Asked, *, held: bool = False) -> asyncio.Future[Verdict]:
        """A future for the verdict on a finished response, or on an episode for which something may be held.

        Until `hurry` is called others may join the call.
        """
        return self._scores_alone.put(asked) if held else self._scores.put(asked, urgent=False)

    def hurry(self) -> None:
        """From now on somebody waits for verdicts."""
        self._scores.hurry()

    async def _ask(self, method: str, asked: Sequence[Asked]) -> Any:
        """The answers of a method of the reward actor, over the line where it can."""
        answers = None if self.line is None else await self.line.ask(method, asked)
        return await getattr(self.reward, method).remote(asked) if answers is None else answers

    async def reply(self, asked: Asked, *, alone: bool = False) -> Answer:
        """What follows the last turn of an episode. An answer that may be slow is asked for `alone`, so that no other waits for it."""
        began = time.perf_counter()
        if alone or asked.checker in self._slow:
            (answer,) = await self.reward.reply.remote([asked])
        else:
            answer = await self._replies.put(asked)
        seconds = time.perf_counter() - began
        (self._slow.add if seconds > SLOW_S else self._slow.discard)(asked.checker)
        return replace(answer, seconds=seconds)

    async def run_agent(self, asked: Asked) -> Verdict:
        """What the agent of one response returned, or why it has no reward; it may take as long as its deadlines let it."""
        verdict: Verdict = await self.reward.run_agent.remote(asked)
        return verdict

    def leave(self, episodes: Sequence[str]) -> None:
        """These episodes will not be asked about again: what an environment holds for them ends. Nobody waits for it."""
        if episodes:
            call = asyncio.ensure_future(self.reward.leave.remote(list(episodes)))
            self._leaving.add(call)
            call.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Hang up: nothing more is asked."""
        if self.line is not None:
            await self.line.close()
