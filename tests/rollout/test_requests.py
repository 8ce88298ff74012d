"""Requests to a real engine: one message for a group, each member its own answer, and nothing left of those that nobody waits for."""

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.end_to_end

SIZE = 6


@pytest.fixture(scope="module")
def groups(answered: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answered["groups"]
    return found


def test_a_group_is_one_message_and_each_member_has_the_seed_of_its_own(groups: dict[str, Any]) -> None:
    assert groups["messages"] == 1
    assert len(groups["together"]) == SIZE
    assert len({response.token_ids.tobytes() for response in groups["together"]}) == SIZE
    assert all(response.logprobs is not None and len(response.logprobs) == len(response) for response in groups["together"])


def test_a_scheduler_of_the_users_gets_a_message_for_each_member_and_answers_the_same(groups: dict[str, Any]) -> None:
    assert groups["messages_apart"] == SIZE
    for together, apart in zip(groups["together"], groups["apart"], strict=True):
        assert np.array_equal(together.token_ids, apart.token_ids)
        assert np.allclose(together.logprobs, apart.logprobs, rtol=0, atol=1e-5)


def test_greedy_members_are_the_same(groups: dict[str, Any]) -> None:
    first, *others = groups["greedy"]
    assert all(np.array_equal(first.token_ids, other.token_ids) for other in others)


def test_members_that_nobody_waits_for_are_aborted_and_the_others_finish(groups: dict[str, Any]) -> None:
    assert groups["messages_of_six"] == 1
    assert groups["given_up"] == [True, True, *[False] * (SIZE - 2)]
    assert groups["aborted"] == 2
    assert len(groups["lengths"]) == SIZE - 2
    assert min(groups["lengths"]) > 0


def test_a_prompt_that_vllm_refuses_is_refused_to_each_who_asked(groups: dict[str, Any]) -> None:
    assert len(groups["refused"]) == 2
    assert all("VLLMValidationError" in error for error in groups["refused"]), groups["refused"]
    assert groups["left"] == (0, 0, 0)


def test_nobody_waits_for_a_core_that_is_gone(groups: dict[str, Any]) -> None:
    assert groups["died"] == ["EngineDeadError"] * 3
    assert groups["running"] == 0
