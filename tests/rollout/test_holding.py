"""Tokens that wait in the core: nothing is lost, swapped or late, and what says when a response began and ended passes at once."""

import random
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from rollout.engine.holding import HOLD_S, SAYS_MORE, Held

STEP_S = 0.01


class Logprobs(NamedTuple):
    """vLLM's `LogprobsLists`."""

    token_ids: Any
    logprobs: Any
    ranks: Any
    cut: list[int] | None = None


def output(request: str, tokens: list[int], *, logprobs: bool = True, experts: bool = True, **more: Any) -> Any:
    """vLLM's `EngineCoreOutput`."""
    column = np.array(tokens)[:, None]
    return SimpleNamespace(
        request_id=request,
        new_token_ids=list(tokens),
        new_logprobs=Logprobs(column, -column / 7, np.array(tokens)) if logprobs else None,
        routed_experts=np.array(tokens)[:, None, None] if experts else None,
        **(dict.fromkeys(SAYS_MORE) | more),
    )


def take(held: Held, *made: Any, tokens: int = 9, now: float = 0.0, client: int = 0) -> Any | None:
    (one,) = made
    return held.take(client, one, tokens, now)


def test_a_response_comes_in_two_messages_and_is_whole() -> None:
    held = Held()
    first = take(held, output("a", [5]), tokens=1)
    assert first.new_token_ids == [5]
    assert [take(held, output("a", [token]), tokens=token) for token in (2, 3, 4)] == [None] * 3
    last = take(held, output("a", [9], finish_reason="stop"), tokens=5)
    assert last.new_token_ids == [2, 3, 4, 9]
    assert last.finish_reason == "stop"
    assert last.new_logprobs.token_ids.tolist() == [[2], [3], [4], [9]]
    assert last.new_logprobs.logprobs.tolist() == (-np.array([[2], [3], [4], [9]]) / 7).tolist()
    assert last.new_logprobs.ranks.tolist() == [2, 3, 4, 9]
    assert last.new_logprobs.cut is None
    assert last.routed_experts.tolist() == [[[2]], [[3]], [[4]], [[9]]]
    assert not held.parts


@pytest.mark.parametrize("field", SAYS_MORE)
def test_an_output_that_says_more_passes_at_once_with_what_waited(field: str) -> None:
    held = Held()
    assert take(held, output("a", [1])) is None
    passed = take(held, output("a", [2], **{field: "said"}))
    assert (passed.new_token_ids, getattr(passed, field)) == ([1, 2], "said")


def test_the_first_tokens_pass_at_once_also_several_of_them() -> None:
    assert take(Held(), output("a", [1, 2, 3]), tokens=3).new_token_ids == [1, 2, 3]


@pytest.mark.parametrize(("logprobs", "experts"), [(False, False), (True, False), (False, True)])
def test_what_was_not_asked_for_stays_away(logprobs: bool, experts: bool) -> None:
    held = Held()
    take(held, output("a", [1], logprobs=logprobs, experts=experts))
    last = take(held, output("a", [2], logprobs=logprobs, experts=experts, finish_reason="length"))
    assert last.new_token_ids == [1, 2]
    assert (last.new_logprobs is not None, last.routed_experts is not None) == (logprobs, experts)


def test_a_request_that_ends_in_an_error_keeps_the_log_probs_of_its_tokens() -> None:
    held = Held()
    take(held, output("a", [1]))
    last = take(held, output("a", [], logprobs=False, experts=False, finish_reason="error"))
    assert last.new_token_ids == [1]
    assert last.new_logprobs.token_ids.tolist() == [[1]]


def test_nothing_waits_longer_than_it_may() -> None:
    held = Held()
    take(held, output("a", [1]), now=10.0)
    take(held, output("b", [2]), now=10.2, client=1)
    take(held, output("a", [3]), now=10.2)
    assert held.overdue(10.0 + HOLD_S - 0.01) == []
    late = held.overdue(10.0 + HOLD_S)
    assert [(client, one.request_id, one.new_token_ids) for client, one in late] == [(0, "a", [1, 3]), (1, "b", [2])]
    assert held.overdue(99.0) == []
    take(held, output("a", [4]), now=20.0)
    assert held.overdue(20.1) == [], "the time counts from the oldest that waits now"


def test_by_chance_nothing_is_lost_or_swapped() -> None:
    dice, held, now = random.Random(7), Held(), 0.0
    left = {f"{name}": [dice.randrange(99) for _ in range(dice.randrange(1, 60))] for name in range(40)}
    wanted, found = {name: list(tokens) for name, tokens in left.items()}, {name: list[int]() for name in left}
    messages = 0
    while left:
        now += STEP_S
        for name in dice.sample(sorted(left), dice.randint(1, len(left))):
            made = [left[name].pop(0) for _ in range(min(dice.choice((1, 1, 1, 3)), len(left[name])))]
            ends = "stop" if not left[name] else None
            passed = take(held, output(name, made, finish_reason=ends), tokens=len(wanted[name]) - len(left[name]), now=now)
            if ends:
                del left[name]
            found[name] += passed.new_token_ids if passed else []
            messages += passed is not None
        for _, late in held.overdue(now):
            found[late.request_id] += late.new_token_ids
            messages += 1
    assert found == wanted
    assert messages < sum(map(len, wanted.values())) / 3
