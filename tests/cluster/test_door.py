"""The door over HTTP, and groups of agents behind it, with a toy engine and toy agents in this process."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError

from cluster.actors.fleet import door as doors
from cluster.actors.fleet.agents import SILENT, Agents
from cluster.actors.fleet.door import Door
from cluster.actors.fleet.group_work import GroupWork
from cluster.actors.fleet.questions import Questions
from reward.asked import Asked, Wants
from rollout.door.episode import Voice
from rollout.engine.pulse import GroupAtWork
from rollout.turns import Bounds
from rollout.types import Finish, Group, Outcome, Prompt, Verdict
from tests.rollout.test_agent_episode import PROMPT, Spelled, U, V
from tests.rollout.test_turns import EOS, ToyEngine
from tests.toys.in_process import InProcess
from tests.toys.run import run_config

ROW = Prompt(prompt_id="p", token_ids=np.array(PROMPT, np.int32), reference="1", checker="agent", question="GHI")
WANTS = Wants(by_checker={"agent": ("base_url", "api_key")})
Agent = Callable[[Asked, AsyncOpenAI], Any]


class Speaking:
    """An engine whose every response has the same turns; in a turn it may wait, or die."""

    def __init__(self) -> None:
        self.goes = asyncio.Event()
        self.goes.set()
        self.dies = False
        self.seeds: list[int] = []

    def voice(self, prompt: Prompt, seed: int, temperature: float | None) -> Voice:
        self.seeds.append(seed)
        engine = ToyEngine([1, 2, EOS], [3, EOS], [4, 5, EOS])

        async def sample(ask: Any) -> Any:
            await self.goes.wait()
            if self.dies:
                raise RuntimeError("the engine died")
            return await engine(ask)

        return Voice(
            sample=sample, speller=Spelled(), bounds=Bounds(turns=3, reply=9, response=40, context=43), plain=False, version=4
        )  # fmt: skip


class Rewarding:
    """A reward actor whose agents run in this process."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.asked: list[Asked] = []
        self.scored: list[Asked] = []
        self.left: list[str] = []

    async def run_agent(self, asked: Asked) -> Verdict:
        self.asked.append(asked)
        assert asked.door is not None
        url, key = asked.door
        async with httpx.AsyncClient() as client:
            (await client.post(f"{url}/begin", headers={"Authorization": f"Bearer {key}"})).raise_for_status()
        async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
            return Verdict(reward=float(await self.agent(asked, client)))

    async def score(self, asked: list[Asked]) -> list[Verdict]:
        self.scored += asked
        return [one.earned or Verdict(reward=9.0) for one in asked]

    async def leave(self, episodes: list[str]) -> None:
        self.left += episodes


def work_of(reward: Rewarding, size: int = 3, **keys: Any) -> GroupWork:
    questions = Questions(run_config(Path("run"), **keys), InProcess(reward))
    return GroupWork(questions, GroupAtWork(7, False), ROW, WANTS, size=size, engine="engine-3/")


async def run(agent: Agent, engine: Speaking | None = None, reward: Rewarding | None = None) -> tuple[Group, Rewarding]:
    door, reward = Door(), reward or Rewarding(agent)
    work = work_of(reward)
    try:
        group, _ = await work.run(Agents(engine or Speaking(), door, work), None)
        assert door.visits == {}
        return group, reward
    finally:
        await door.close()


async def two_turns(asked: Asked, client: AsyncOpenAI) -> float:
    said = await client.chat.completions.create(model="x", messages=[U])
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.choices[0].finish_reason) == (3, 3, "stop")
    stream = await client.chat.completions.create(
        model="x", messages=[U, said.choices[0].message, V], stream=True, stream_options={"include_usage": True}
    )
    parts = [part async for part in stream]
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == "30"
    assert (parts[-2].choices[0].finish_reason, parts[-1].usage.completion_tokens) == ("stop", 2)
    return 0.25 * asked.index


def test_a_client_library_plays_an_episode_that_is_recorded_to_the_token():
    engine = Speaking()
    group, reward = asyncio.run(run(two_turns, engine))
    assert [response.token_ids.tolist() for response in group.responses] == [[1, 2, EOS, 1, 3, EOS]] * 3
    assert [verdict.reward for verdict in group.verdicts] == [0.0, 0.25, 0.5]
    assert len(set(engine.seeds)) == 3
    assert {(one.tokens, one.over) for one in reward.scored} == {(5, False)}
    assert sorted(one.earned.reward for one in reward.scored) == [0.0, 0.25, 0.5]
    assert len({one.door for one in reward.asked}) == 3, "each response has a key of its own"
    assert all(response.environment_s > 0 for response in group.responses)
    assert reward.left == []
    assert reward.asked[0].door is not None
    assert reward.asked[0].door[0].startswith("http://127.0.0.1:")
    assert reward.asked[0].door[1] not in repr(reward.asked[0]), "a key is in no log"


def test_bad_requests_get_the_errors_of_the_api_and_the_episode_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doors, "MAX_BODY_BYTES", 4096)

    async def agent(asked: Asked, client: AsyncOpenAI) -> float:
        with pytest.raises(BadRequestError, match="top_p"):
            await client.chat.completions.create(model="x", messages=[U], top_p=0.5)
        with pytest.raises(BadRequestError, match="the model cannot be told these messages"):
            await client.chat.completions.create(model="x", messages=[{"role": "assistant", "content": "A"}])
        with pytest.raises(AuthenticationError):
            await client.with_options(api_key="wrong").chat.completions.create(model="x", messages=[U])
        assert [one.id for one in (await client.models.list()).data] == ["policy"]
        bodies = {"not json": 400, '{"messages": [{"role": "user", "content": "' + "x" * 5000: 413}
        assert asked.door is not None
        url, key = asked.door
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as plain:
            got = [(await plain.post(f"{url}/chat/completions", content=body)).status_code for body in bodies]
            assert got == list(bodies.values())
            assert (await plain.post(f"{url}/begin")).status_code == 409, "a second process of the same episode"
        return await two_turns(asked, client)

    group, _ = asyncio.run(run(agent))
    assert [len(response) for response in group.responses] == [6] * 3


def test_an_agent_that_asks_nothing_or_fails_has_no_reward():
    async def agent(asked: Asked, client: AsyncOpenAI) -> float:
        return 1.0

    group, _ = asyncio.run(run(agent))
    assert [(verdict.reward, verdict.failure) for verdict in group.verdicts] == [(None, SILENT)] * 3
    assert [(len(response), response.finish, response.newest_version) for response in group.responses] == [(0, Finish.STOP, 4)] * 3


def test_when_the_engine_dies_the_group_fails_as_any_group():
    engine = Speaking()
    engine.dies = True

    async def agent(asked: Asked, client: AsyncOpenAI) -> float:
        await client.chat.completions.create(model="x", messages=[U])
        return 1.0

    reward = Rewarding(agent)
    with pytest.raises(RuntimeError, match="the engine died"):
        asyncio.run(run(agent, engine, reward))
    assert len(reward.left) == 3, "their processes end"


def test_an_aborted_group_ends_its_requests_and_its_agents():
    async def steps() -> list[str]:
        engine, reward, door = Speaking(), Rewarding(two_turns), Door()
        engine.goes.clear()
        work = work_of(reward)
        running = asyncio.ensure_future(work.run(Agents(engine, door, work), None))
        while not (len(door.visits) == 3 and all(visit._working for visit in door.visits.values())):
            await asyncio.sleep(0.01)
        assert work.mine.answering == 0, "the engine has all to do"
        keys = list(door.visits)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        async with AsyncOpenAI(base_url=await door.open(), api_key=keys[0], max_retries=0) as client:
            with pytest.raises(AuthenticationError, match="its episode is over"):
                await client.chat.completions.create(model="x", messages=[U])
        await door.close()
        return reward.left

    assert len(asyncio.run(steps())) == 3


def test_a_silent_agent_is_late_in_its_own_time_only(monkeypatch: pytest.MonkeyPatch):
    async def agent(asked: Asked, client: AsyncOpenAI) -> float:
        await client.chat.completions.create(model="x", messages=[U])
        await asyncio.sleep(600 if asked.index == 1 else 0)
        return 1.0

    async def steps() -> tuple[Group, Rewarding]:
        engine, reward, door = Speaking(), Rewarding(agent), Door()
        engine.goes.clear()
        asyncio.get_running_loop().call_later(1.0, engine.goes.set)  # a slow engine costs agents nothing
        work = work_of(reward)
        object.__setattr__(work.questions.config.reward, "timeout_s", 0.1)
        object.__setattr__(work.questions.config.reward, "held_start_s", 0.2)
        group, _ = await work.run(Agents(engine, door, work), None)
        await door.close()
        return group, reward

    began = time.monotonic()
    group, reward = asyncio.run(steps())
    assert time.monotonic() - began < 20
    assert [verdict.outcome for verdict in group.verdicts] == [Outcome.SCORED, Outcome.TIMED_OUT, Outcome.SCORED]
    assert "reward.timeout_s" in group.verdicts[1].failure
    assert len(reward.left) == 1
    assert [len(response) for response in group.responses] == [3] * 3, "what it had asked for is kept, and not learned"
