"""The tokens of a group come back as they were, and a summary of plain responses is that which is counted response by response."""

import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from rollout.types import Finish, Group, GroupSummary, Prompt, Response, Sampled, SampledGroup, Verdict
from tests.toys.holes import episode, segment

PLAIN = [
    Response(
        token_ids=np.arange(first, first + length, dtype=np.int32),
        logprobs=-np.arange(length, dtype=np.float32) / 8,
        finish=Finish.STOP,
        oldest_version=first,
        newest_version=first + 1,
        text="",
    )
    for first, length in ((3, 4), (70_000, 1), (0, 9))
]
GROUPS = {
    "plain": PLAIN,
    "plain, nothing said of log-probs": [replace(one, logprobs=None) for one in PLAIN],
    "one response": PLAIN[:1],
    "an episode among them": [*PLAIN, episode(2, 3, 4)],
    "rewritten": [PLAIN[0], episode(2, later=[segment([8, 9], 1, 1, 1)])],
    "a context of its own": [replace(PLAIN[0], prompt_ids=np.array([4, 4], np.int32)), PLAIN[1]],
    "log-probs of some alone": [PLAIN[0], replace(PLAIN[1], logprobs=None)],
    "none": [],
}


def same(ours: Any, theirs: Any) -> None:
    for field in fields(theirs):
        found, wanted = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name == "later":
            assert len(found) == len(wanted)
            for one, other in zip(found, wanted, strict=True):
                same(one, other)
        else:
            assert type(found) is type(wanted), field.name
            assert np.array_equal(found, wanted) if isinstance(wanted, np.ndarray) else found == wanted, field.name
            assert getattr(found, "dtype", None) == getattr(wanted, "dtype", None), field.name


@pytest.mark.parametrize("responses", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_response_of_a_group_comes_back_as_it_was(responses: list[Response], protocol: int) -> None:
    group = SampledGroup(tuple(map(Sampled.of, responses)))
    back = pickle.loads(pickle.dumps(group, protocol))
    assert type(back) is SampledGroup
    assert len(back.responses) == len(responses)
    for ours, theirs in zip(back.responses, group.responses, strict=True):
        same(ours, theirs)


def test_plain_responses_travel_as_few_arrays() -> None:
    many = SampledGroup(tuple(map(Sampled.of, PLAIN * 20)))
    alone = [len(pickle.dumps(one)) for one in many.responses]
    assert len(pickle.dumps(many)) < sum(alone) / 3


@pytest.mark.parametrize(
    ("changes", "plain"),
    [
        ({}, True),
        ({"turns": np.array([[0, 4]], np.int32)}, False),
        ({"prompt_ids": np.array([4], np.int32)}, False),
        ({"later": (segment([8], 2),)}, False),
        ({"tool_calls": 1}, False),
        ({"tool_errors": 1}, False),
        ({"cut_replies": 1}, False),
        ({"environment_s": 0.5}, False),
    ],
)
def test_a_summary_counts_what_there_is_to_tell_of_a_response(changes: dict[str, Any], plain: bool) -> None:
    told = replace(PLAIN[0], **changes)
    assert told.is_plain == plain
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="", checker="exact")
    group = Group(group_id=0, prompt=prompt, responses=(told, PLAIN[2]), verdicts=(Verdict(reward=1.0), Verdict(reward=0.0)))
    found = GroupSummary.of(group)
    assert found.sampled.tolist() == [told.sampled_tokens, 9]
    assert found.turns.tolist() == [sum(part.own_turns for part in told.segments), 1]
    assert found.tool_calls.tolist() == [told.tool_calls, 0]
    assert found.tool_errors.tolist() == [told.tool_errors, 0]
    assert found.cut_replies.tolist() == [told.cut_replies, 0]
    assert found.environment_s.tolist() == [told.environment_s, 0]
    kinds = {name: getattr(found, name).dtype for name in ("sampled", "turns", "tool_calls", "tool_errors", "cut_replies", "environment_s")}
    assert kinds == {**dict.fromkeys(kinds, np.dtype(np.int64)), "environment_s": np.dtype(np.float64)}
    same(pickle.loads(pickle.dumps(found)), found)
