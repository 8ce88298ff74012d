"""Agents in processes of their own, which ask a door in this process."""

import asyncio
import inspect
from typing import Any

import psutil
import pytest

from cluster.actors.fleet.door import Door, Visit
from reward.asked import Asked
from reward.own.name import OwnCodeError
from reward.own.signature import call_of
from reward.scorer import Scorer
from rollout.door.episode import AgentEpisode, Voice
from rollout.engine.pulse import GroupAtWork
from rollout.turns import Bounds
from rollout.types import Outcome, Verdict
from tests.rollout.test_agent_episode import Spelled
from tests.rollout.test_turns import EOS, ToyEngine
from tests.toys.held import config

TOYS = "tests.toys.agents"


def visit() -> Visit:
    engine = ToyEngine(*([[1, EOS]] * 9))
    bounds = Bounds(turns=4, reply=9, response=60, context=63)
    voice = Voice(sample=engine, speller=Spelled(), bounds=bounds, plain=False, version=0)
    return Visit(AgentEpisode([7], voice, lambda text, tools: (text, [])), GroupAtWork(0, False), (1.0,))


async def outcomes(scorer: Scorer, door: Door) -> dict[Any, tuple[Verdict, Visit]]:
    url = await door.open()

    async def one(checker: str, reference: Any) -> tuple[Verdict, Visit]:
        with door.let_in(visit()) as let_in:
            asked = Asked(
                checker=f"{TOYS}:{checker}", response="", reference=reference, tokens=0, question="AB", episode=f"e/{reference}",
                group_seed=7, door=(url, let_in.key),
            )  # fmt: skip
            running = asyncio.ensure_future(scorer.run_agent(asked))
            if reference == "hangs":
                while not (let_in.begun and let_in.episode.transcript):
                    await asyncio.sleep(0.01)
                scorer.leave([asked.episode])
            return await running, let_in

    kinds = [("scripted", name) for name in ("", "silent", "raises", "dies", "hangs", "many")] + [("waiting", 0.25)]
    return dict(zip([name for _, name in kinds], await asyncio.gather(*(one(*kind) for kind in kinds)), strict=True))


def test_every_end_of_an_agent_has_its_outcome() -> None:
    async def run() -> tuple[dict[Any, tuple[Verdict, Visit]], list[Verdict], Verdict]:
        door, keys = Door(), {"checker": f"{TOYS}:scripted", "parts": {"long": {"checker": "length", "reference": {"max": 9}}}}
        async with Scorer(config(**keys), named_by_rows=[f"{TOYS}:waiting"]) as scorer:
            assert scorer.wants.agent(f"{TOYS}:scripted")
            found = await outcomes(scorer, door)
            earned = [
                Asked(checker=f"{TOYS}:scripted", response="a", reference="", tokens=1, earned=verdict) for verdict, _ in found.values()
            ]
            scored = await scorer.score(earned)
            nowhere = Asked(
                checker=f"{TOYS}:scripted", response="", reference="", tokens=0, episode="e/x", door=("http://127.0.0.1:9/v1", "k")
            )  # fmt: skip
            alone = await scorer.run_agent(nowhere)
            await door.close()
        return found, scored, alone

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    found, scored, alone = asyncio.run(run())
    verdicts = {name: verdict for name, (verdict, _) in found.items()}
    assert [(name, one.reward) for name, one in verdicts.items() if one.reward is not None] == [
        ("", 0.5), ("silent", 1.0), ("many", 0.5), (0.25, 7.25)
    ]  # fmt: skip
    assert [verdicts[name].outcome for name in ("raises", "dies", "hangs")] == [
        Outcome.UNSCORABLE, Outcome.CRASHED, Outcome.UNSCORABLE
    ]  # fmt: skip
    assert "RuntimeError: it broke" in verdicts["raises"].failure
    assert [len(let_in.episode.transcript) for _, let_in in found.values()] == [1, 0, 1, 1, 1, 4, 1]
    assert all(let_in.key not in str(verdict) for verdict, let_in in found.values())
    assert [one.reward is None for one in scored] == [False, False, True, True, True, False, False]
    assert scored[0].parts == {"correct": 0.5, "long": 1.0}
    assert alone.outcome is Outcome.UNSCORABLE
    assert 'set reward.nodes = "engines"' in alone.failure
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def good(question: str, reference: Any, base_url: str, api_key: str) -> float: ...
def other_names(task: str, truth: Any, *, base_url: str, api_key: str, seed: int = 0) -> float: ...
def by_name(api_key: str, base_url: str) -> float: ...


@pytest.mark.parametrize(
    ("agent", "gets"),
    [
        (good, {"question": "q", "reference": "r", "base_url": "u", "api_key": "k"}),
        (other_names, {"task": "q", "truth": "r", "base_url": "u", "api_key": "k", "seed": 3}),
        (by_name, {"base_url": "u", "api_key": "k"}),
    ],
)
def test_an_agent_gets_the_question_in_the_place_of_a_response(agent: Any, gets: dict[str, Any]) -> None:
    given = {"response": "no", "question": "q", "reference": "r", "base_url": "u", "api_key": "k", "seed": 3}
    call = call_of("m:agent", agent)
    assert "base_url" in call.asks
    assert call.make(lambda *places, **more: inspect.signature(agent).bind(*places, **more).arguments, given) == gets


def half(question: str, reference: Any, base_url: str) -> float: ...
def late(question: str, reference: Any, base_url: str, api_key: str, tokens: int) -> float: ...
def said(response: str, reference: Any, base_url: str, api_key: str) -> float: ...
def yielding(question: str, reference: Any, base_url: str, api_key: str) -> Any:
    yield "words"


@pytest.mark.parametrize(
    ("agent", "says"),
    [(half, "add api_key"), (late, "tokens cannot be known"), (said, "response cannot be known"), (yielding, "it has a `yield`")],
)
def test_a_function_that_cannot_be_an_agent_is_refused(agent: Any, says: str) -> None:
    with pytest.raises(OwnCodeError, match=says):
        call_of("m:agent", agent, yields=agent is yielding)
