"""Histories of an agent become segments by their ids."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rollout.chat.behind import UnfitWords
from rollout.door.episode import AgentEpisode, Voice
from rollout.door.request import Refused, read_request
from rollout.door.said import Said
from rollout.turns import Bounds
from rollout.types import Finish, Group, GroupSummary, Prompt, Sampled, Verdict
from tests.rollout.test_turns import BOUNDS, EOS, PROMPT, ToyEngine

TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
CALL = {"id": "c00000000", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
U, V, W = ({"role": "user", "content": text} for text in ("GHI", "A", "BC"))  # U spells the prompt
S = {"role": "system", "content": "B"}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


class Spelled:
    """Spells messages as the numbers of their letters; a result of a tool cannot stand behind a turn where it says so."""

    def __init__(self, tools: Sequence[Any] = ()) -> None:
        self.tools = tools

    def showing(self, schemas: Sequence[Any], *, system: bool = True) -> "Spelled":
        return Spelled(schemas)

    def context(self, messages: Sequence[Any]) -> list[int]:
        if messages[-1]["role"] == "assistant":
            raise UnfitWords("it must end before the model's turn")
        return [*([60] if self.tools else []), *(ord(letter) % 32 for one in messages for letter in one["content"])]

    def after(self, messages: Sequence[Any], last_token: int) -> list[int]:
        if any("!" in one["content"] for one in messages):
            raise UnfitWords("not behind a turn")
        return [ord(letter) % 32 for one in messages for letter in one["content"]]


def calls_of(text: str, tools: Sequence[Any]) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    return ("", [("add", {"a": 1})]) if text == "120" else (text, [])


def episode(engine: ToyEngine, *, bounds: Bounds = BOUNDS, plain: bool = False) -> AgentEpisode:
    return AgentEpisode([7, 8, 9], Voice(sample=engine, speller=Spelled(), bounds=bounds, plain=plain, version=0), calls_of)


def asked(found: AgentEpisode, messages: Sequence[Any], **more: Any) -> Any:
    return found.complete(read_request({"messages": list(messages), **more}, (1.0,)))


TURNS = ([1, 2, EOS], [3, EOS], [4, 5, EOS], [6, EOS])
ONE, TWO = assistant("120"), assistant("30")
NULLS = {"refusal": None, "audio": None, "annotations": [], "function_call": None, "tool_calls": None}
PARTS = [{"type": "text", "text": "120"}]
# histories of the second request, after the first one asked [U] and was told "120": whether it goes on with the first
HISTORIES = [
    ([U, ONE, V], True),
    ([U, ONE, V, W], True),
    ([U, ONE, V, V, V], True),
    ([U, ONE, {"role": "tool", "content": "A", "tool_call_id": "c1"}], True),
    ([U, ONE, {**S}], True),
    ([U, assistant("120", **NULLS), V], True),
    ([{**U, "name": None}, ONE, V], True),
    ([U, {**ONE, "content": PARTS}, V], True),
    ([{**U, "content": [{"type": "text", "text": "GHI"}]}, ONE, V], True),
    ([U], False),
    ([U, V], False),
    ([V], False),
    ([S, U, ONE, V], False),
    ([U, assistant("12"), V], False),
    ([U, assistant("120 "), V], False),
    ([{**U, "content": "GH"}, ONE, V], False),
    ([U, ONE, V, assistant("mine"), W], False),
    ([ONE, V], False),
    ([{**U, "role": "system"}, ONE, V], False),
    ([{**U, "name": "ann"}, ONE, V], False),
    ([U, {**ONE, "tool_calls": [CALL]}, V], False),
    ([U, ONE, {**V, "content": "A!"}], False),
]


@pytest.mark.parametrize(("history", "goes_on"), HISTORIES)
def test_a_history_that_goes_on_with_what_was_said_is_the_next_turn_and_another_a_segment(history: list[Any], goes_on: bool):
    engine = ToyEngine(*TURNS)
    found = episode(engine)

    async def run() -> None:
        assert (await asked(found, [U])).sent == ONE
        await asked(found, history)

    asyncio.run(run())
    response = found.response()
    second = engine.asked[1]
    new = [ord(letter) % 32 for one in history for letter in one["content"]] if not goes_on else []
    if goes_on:
        assert list(second.context)[:6] == [*PROMPT, 1, 2, EOS]
        assert (second.known, response.later) == (5, ())
        assert response.turns is not None
        assert response.turns[0].tolist() == [0, 3]
        assert response.token_ids.tolist()[-2:] == [3, EOS]
    else:
        (segment,) = response.later
        assert (second.known, list(second.context)) == (0, new)
        assert (segment.prompt_ids.tolist(), segment.token_ids.tolist()) == (new, [3, EOS])
        assert response.token_ids.tolist() == [1, 2, EOS]
    assert [turn.said for turn in response.transcript] == ["120", "30"]
    assert response.prompt_ids is None, "the agent began with the row's own prompt"


def test_branches_grow_beside_each_other_and_each_segment_is_learned_once():
    engine = ToyEngine(*TURNS)
    found = episode(engine)

    async def run() -> None:
        await asked(found, [V])
        await asked(found, [W])
        await asked(found, [V, ONE, U])  # the first one goes on
        await asked(found, [W, TWO, U])  # and the second

    asyncio.run(run())
    response = found.response()
    assert response.prompt_ids is not None
    assert response.prompt_ids.tolist() == [1]
    assert response.token_ids.tolist() == [1, 2, EOS, 7, 8, 9, 4, 5, EOS]
    assert response.later[0].token_ids.tolist() == [3, EOS, 7, 8, 9, 6, EOS]
    assert [(part.oldest_version, part.newest_version) for part in response.later] == [(1, 3)]
    assert (response.oldest_version, response.newest_version, response.text) == (0, 3, "60")
    sent = Sampled.of(response)
    assert sent.prompt_ids is not None
    assert (sent.prompt_ids.tolist(), sent.segment(1).prompt_ids.tolist()) == ([1], [2, 3])  # type: ignore[union-attr]
    import numpy as np

    prompt = Prompt(prompt_id="p", token_ids=np.array(PROMPT, np.int32), reference="", checker="agent")
    summary = GroupSummary.of(Group(group_id=0, prompt=prompt, responses=(response,), verdicts=(Verdict(reward=1.0),)))
    assert [(one.prompt_tokens, one.tokens, one.sampled, one.turns) for one in summary.segments_of(0)] == [(1, 9, 6, 2), (2, 7, 4, 2)]


def test_calls_at_the_same_time_come_one_after_another_and_the_second_of_a_history_is_a_segment():
    engine = ToyEngine(*TURNS)
    found = episode(engine)

    async def run() -> list[Said]:
        return await asyncio.gather(asked(found, [U]), asked(found, [U]), asked(found, [U]))

    assert [said.number for said in asyncio.run(run())] == [0, 1, 2]
    assert len(found.response().segments) == 3


def test_a_cancelled_request_leaves_no_trace():
    engine = ToyEngine(*TURNS)
    found = episode(engine)

    async def run() -> None:
        await asked(found, [U])
        goes, sample = asyncio.Event(), found.voice.sample

        async def slow(ask: Any) -> Any:
            await goes.wait()
            return await sample(ask)

        object.__setattr__(found.voice, "sample", slow)
        request = asyncio.create_task(asked(found, [U, ONE, V]))
        await asyncio.sleep(0)
        request.cancel()
        goes.set()
        await asyncio.gather(request, return_exceptions=True)
        assert found.response().token_ids.tolist() == [1, 2, EOS]
        await asked(found, [U, ONE, V])

    asyncio.run(run())
    assert found.response().token_ids.tolist() == [1, 2, EOS, 1, 3, EOS]


def test_calls_of_tools_are_given_to_the_agent_and_found_again_in_its_history():
    engine = ToyEngine(*TURNS)
    found = episode(engine)

    async def run() -> None:
        said = await asked(found, [U], tools=[TOOL])
        assert (said.finish, said.sent) == ("tool_calls", {"role": "assistant", "content": None, "tool_calls": [CALL]})
        echoed = {**said.sent, "tool_calls": [{**CALL, "function": {"name": "add", "arguments": '{"a":1}'}}]}  # written again
        await asked(found, [U, echoed, {"role": "tool", "content": "B", "tool_call_id": CALL["id"]}], tools=[TOOL])
        await asked(found, [U, echoed, V])  # without the tools in its prompt: another conversation

    asyncio.run(run())
    response = found.response()
    assert response.token_ids.tolist() == [1, 2, EOS, 2, 3, EOS]
    assert (response.tool_calls, len(response.later)) == (1, 1)


@pytest.mark.parametrize(
    ("bounds", "more", "lengths", "finish"),
    [
        (Bounds(turns=1, reply=1, response=60, context=63), {}, [3, 0], Finish.LENGTH),
        (Bounds(turns=8, reply=1, response=2, context=63), {}, [2, 0], Finish.LENGTH),
        (Bounds(turns=8, reply=1, response=60, context=6), {}, [3, 0], Finish.LENGTH),
        (Bounds(turns=8, reply=1, response=60, context=63), {"max_tokens": 2}, [2, 2], Finish.STOP),
        (Bounds(turns=8, reply=1, response=60, context=63), {"max_completion_tokens": 1, "max_tokens": 9}, [1, 1], Finish.STOP),
    ],
)
def test_the_limits_of_a_run_are_finish_reason_length(bounds: Bounds, more: dict[str, int], lengths: list[int], finish: Finish):
    found = episode(ToyEngine(*TURNS), bounds=bounds)

    async def run() -> list[Said]:
        first = await asked(found, [U], **more)
        return [first, await asked(found, [U, first.sent, V], **more)]

    said = asyncio.run(run())
    assert [one.tokens for one in said] == lengths
    assert [one.finish for one in said if not one.tokens or one.tokens == 1] == ["length"] * sum(length < 2 for length in lengths)
    assert found.response().finish is finish


def test_an_agent_that_never_stops_asking_is_told_so_in_words():
    found = episode(ToyEngine(*TURNS), bounds=Bounds(turns=2, reply=1, response=60, context=63))

    async def run() -> None:
        for _ in range(4):
            await asked(found, [U])
        with pytest.raises(Refused, match=r"2 of 2 turns \(rollout.max_turns\)"):
            await asked(found, [U])

    asyncio.run(run())


def test_without_a_chat_template_a_conversation_is_its_texts_and_shows_no_tools():
    engine = ToyEngine(*TURNS)
    found = episode(engine, plain=True)
    asyncio.run(asked(found, [S, U, assistant("D"), V]))
    assert list(engine.asked[0].context) == [2, 7, 8, 9, 4, 1]
    with pytest.raises(Refused, match="shown no tools"):
        asyncio.run(asked(found, [U], tools=[TOOL]))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "needed a JSON object"),
        ({}, "needed a list of at least one message"),
        ({"messages": []}, "needed a list of at least one message"),
        ({"messages": "hi"}, "needed a list"),
        ({"messages": [{"content": "x"}]}, "needed an object with role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "needed text"),
        ({"messages": [{"role": "user", "content": 3}]}, "needed text"),
        ({"messages": [{**ONE, "tool_calls": ["x"]}]}, "needed a call with a function"),
        ({"messages": [U], "top_p": 0.9}, "top_p = 0.9 is not served"),
        ({"messages": [U], "n": 2}, "n = 2 is not served"),
        ({"messages": [U], "n": True}, "n = True"),
        ({"messages": [U], "temperature": 0.7}, r"samples with 1 \(rollout.temperature\)"),
        ({"messages": [U], "logit_bias": {"5": 1}}, "logit_bias"),
        ({"messages": [U], "stop": ["x"]}, "stop"),
        ({"messages": [U], "response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [U], "tool_choice": "required"}, "tool_choice"),
        ({"messages": [U], "guided_regex": "x"}, "'guided_regex' is not served"),
        ({"messages": [U], "max_tokens": 0}, "whole number from 1"),
        ({"messages": [U], "max_tokens": True}, "whole number from 1"),
        ({"messages": [U], "stream": "yes"}, "true or false"),
        ({"messages": [U], "stream_options": 3}, "needed an object"),
        ({"messages": [U], "tools": {}}, "needed a list"),
        ({"messages": [U], "tools": [{"type": "function"}]}, "a tool is"),
    ],
)
def test_what_would_change_the_distribution_or_cannot_be_read_is_refused(body: Any, says: str):
    with pytest.raises(Refused, match=says) as refused:
        read_request(body, (1.0,))
    assert refused.value.status == 400
    assert refused.value.body["error"]["type"] == "invalid_request_error"


def test_what_changes_nothing_is_served():
    neutral = {"top_p": 1.0, "n": 1, "temperature": 1, "stop": None, "seed": 3, "user": "me", "model": "any", "logit_bias": {}}
    request = read_request({"messages": [U], **neutral, "stream": True, "stream_options": {"include_usage": True}}, (0.0, 1.0))
    assert (request.limit, request.stream, request.usage, request.model, request.calls) == (None, True, True, "any", False)
