"""Episodes on one real engine: alone, among others, with weights that change in mid-episode, and greedy."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from rollout.door.episode import AgentEpisode
from rollout.door.request import read_request
from rollout.engine.engine import Engine
from rollout.engine.sampling import sampling
from rollout.seeds import seed_of_response
from rollout.transcript.episode import Answer, Reply, Turn
from rollout.turns import Ask
from rollout.types import Prompt, Response

MEMBERS, TURNS, STOPS = 12, 6, [5, 9, 14, 20, 27]  # with so many ends of turns a model of random weights says little
GREEDY_STOPS = list(range(32))  # a model of random weights says one token for ever: its turns have one each
REWRITTEN = "0123456789+=" * 3
Key = tuple[int, int]  # seed of a response, number of a turn


def change_weights(worker: Any, factor: float) -> None:
    """Other weights in every layer, as a publish brings them."""
    for name, weight in worker.model_runner.model.named_parameters():
        if name.endswith("norm.weight"):
            weight.data.mul_(factor)


def environment(member: int, naps: float = 0.0) -> Reply:
    """Answers with words that depend on what was said; for every third member it once writes the context anew."""

    async def reply(turns: Sequence[Turn]) -> Answer:
        await asyncio.sleep(naps * ((member * 7 + len(turns) * 5) % 4))
        if len(turns) == 3 + member % 3:
            return Answer()
        if member % 3 == 0 and len(turns) == 2:
            return Answer(rewritten=({"role": "user", "content": REWRITTEN},))
        return Answer(words=f"{len(turns[-1].said)}+{member}=" + "12" * member)

    return reply


class Recorded:
    """What an engine sampled for each turn of each response."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.turns: dict[Key, Response] = {}
        self.after: Callable[[], object] = lambda: None

    @asynccontextmanager
    async def recording(self) -> AsyncIterator["Recorded"]:
        sample = self.engine._sample

        async def noting(ask: Ask, seed: int, temperature: float, prompt_id: str) -> Response:
            turn = await sample(ask, seed, temperature, prompt_id)
            self.turns[seed, ask.turn] = turn
            self.after()
            return turn

        self.engine._sample = noting  # type: ignore[method-assign]
        try:
            yield self
        finally:
            self.engine._sample = sample  # type: ignore[method-assign]


async def play(engine: Engine, prompt: Prompt, members: Sequence[int], **how: Any) -> list[Response]:
    """Episodes of these members, all at once."""
    naps = how.pop("naps", 0.0)
    asked = (engine.respond(prompt, seed_of_response(0, 7, member), reply=environment(member, naps), **how) for member in members)
    return await asyncio.gather(*asked)


async def publish_between(engine: Engine, prompt: Prompt, factors: Sequence[float]) -> tuple[list[Response], dict[Key, tuple[int, int]]]:
    """Episodes among which the weights change, each time a third of their turns is over; the versions of every turn."""
    publishes: list[asyncio.Task[None]] = []

    async def publish(version: int, factor: float) -> None:
        await engine.pause()
        await engine.llm.collective_rpc(change_weights, args=(factor,))
        engine.served.begin(version)
        await engine.resume()

    async with Recorded(engine).recording() as seen:

        def maybe() -> None:
            version = len(publishes) + 1
            if version <= len(factors) and len(seen.turns) >= version * MEMBERS:
                publishes.append(asyncio.create_task(publish(engine.served.newest + 1, factors[version - 1])))

        seen.after = maybe
        responses = await play(engine, prompt, range(MEMBERS), naps=0.02)
    await asyncio.gather(*publishes)
    return responses, {key: (turn.oldest_version, turn.newest_version) for key, turn in seen.turns.items()}


async def experts_at_once(engine: Engine, context: Sequence[int]) -> Any:
    """The experts of one request that reads all of these tokens."""
    return (await engine._sample(Ask(context=context, turn=0, limit=1, known=0), 0, 0.0, "whole")).routed_experts


async def agents(engine: Engine, prompt: Prompt) -> list[Response]:
    """Agents that go on with a conversation, begin another one, and go on with both, all at once."""

    async def one(member: int) -> Response:
        voice = engine.voice(prompt, seed_of_response(0, 7, member), None)
        episode = AgentEpisode(prompt.token_ids.tolist(), voice, lambda text, tools: (text, []))
        histories = [[{"role": "user", "content": words}] for words in ("12+34=" * 4, REWRITTEN[: 12 + member])]
        for history in (histories[0], histories[0], histories[1], histories[0], histories[1]):
            said = await episode.complete(read_request({"messages": history}, (1.0,)))
            history += [said.sent, {"role": "user", "content": f"{member}+1="}]
        return episode.response()

    return await asyncio.gather(*map(one, range(4)))


async def all_kinds(engine: Engine, factors: Sequence[float]) -> dict[str, Any]:
    """Everything that the tests look at."""
    import rollout.engine.requests

    def with_more_ends(*args: Any) -> Any:
        params = sampling(*args)
        params.stop_token_ids = STOPS if params.temperature > 0 else GREEDY_STOPS
        return params

    vars(rollout.engine.requests)["sampling"] = with_more_ends
    prompt = Prompt(prompt_id="episode", token_ids=np.arange(4, 30, dtype=np.int32), reference="", checker="toy")
    found: dict[str, Any] = {"prompt": prompt}
    found["together"] = await play(engine, prompt, range(MEMBERS), naps=0.01)
    found["alone"] = [(await play(engine, prompt, [member]))[0] for member in range(MEMBERS)]
    found["greedy"] = [await play(engine, prompt, [1, 4, 5, 7], temperature=0.0, naps=naps) for naps in (0.0, 0.01)]
    found["at_once"] = []
    for response in found["together"]:
        for head, part in ((prompt.token_ids, response), *((segment.prompt_ids, segment) for segment in response.later)):
            found["at_once"].append((part.routed_experts, await experts_at_once(engine, [*head.tolist(), *part.token_ids.tolist()])))
    found["agents"] = await agents(engine, prompt)
    for response in found["agents"]:
        for part in response.segments:
            found["at_once"].append(
                (part.routed_experts, await experts_at_once(engine, [*part.prompt_ids.tolist(), *part.token_ids.tolist()]))
            )
    before = engine.served.newest
    found["published"], found["versions"] = await publish_between(engine, prompt, factors)
    found["before"] = before
    return found
