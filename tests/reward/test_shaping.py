"""The over-long punishment is DAPO's, parts are weighed, correctness survives both, and no failure becomes a number."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.sections.reward import PartConfig, RewardConfig
from learner.loss.parts import weighed_parts
from reward.shaping import overlong_penalty, shape
from rollout.types import Outcome, Verdict
from tests.toys.run import toy_summary


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, 0.0),
        (1, 0.0),
        (16384, 0.0),
        (16385, -1 / 4096),
        (18432, -0.5),
        (20479, -4095 / 4096),
        (20480, -1.0),
        (20481, -1.0),
        (10**9, -1.0),
    ],
)
def test_penalty_has_the_values_of_the_paper(length: int, expected: float) -> None:
    assert overlong_penalty(length, max_tokens=20480, cache=4096) == expected


def test_a_cache_of_zero_switches_the_penalty_off() -> None:
    assert [overlong_penalty(n, max_tokens=10, cache=0) for n in (0, 10, 11)] == [0.0, 0.0, 0.0]


def test_a_cache_as_long_as_the_budget_punishes_from_the_first_token() -> None:
    assert [overlong_penalty(n, max_tokens=4, cache=4) for n in range(6)] == [0.0, -0.25, -0.5, -0.75, -1.0, -1.0]


@given(st.integers(1, 1000), st.data())
def test_penalty_lies_between_minus_one_and_zero_and_never_rises(max_tokens: int, data: st.DataObject) -> None:
    cache = data.draw(st.integers(0, max_tokens))
    penalties = [overlong_penalty(n, max_tokens, cache) for n in range(0, max_tokens + 3, max(1, max_tokens // 50))]
    assert all(-1.0 <= p <= 0.0 for p in penalties)
    assert penalties == sorted(penalties, reverse=True)


@pytest.mark.parametrize(("length", "max_tokens", "cache"), [(-1, 10, 5), (1, 10, 11), (1, 0, 0), (1, 10, -1)])
def test_impossible_lengths_are_refused(length: int, max_tokens: int, cache: int) -> None:
    with pytest.raises(ValueError, match="cache <= max_tokens"):
        overlong_penalty(length, max_tokens, cache)


def scored(reward: float) -> Verdict:
    return Verdict(reward=reward, parts={"correct": reward})


def test_the_penalty_is_added_and_raw_correctness_kept() -> None:
    shaped = shape(RewardConfig(overlong_cache=10), scored(1.0), {}, 15, 20)
    assert shaped == Verdict(reward=0.5, parts={"correct": 1.0, "overlong": -0.5})


def test_a_wrong_response_that_is_too_long_is_still_wrong_not_signal() -> None:
    shaped = shape(RewardConfig(overlong_cache=10), scored(0.0), {}, 20, 20)
    assert shaped == Verdict(reward=-1.0, parts={"correct": 0.0, "overlong": -1.0})


def test_without_a_cache_there_is_no_punishment_and_no_part_of_it() -> None:
    assert shape(RewardConfig(), scored(1.0), {}, 20, 20) == Verdict(reward=1.0, parts={"correct": 1.0})


PARTS = RewardConfig.model_validate(
    {
        "range": [-1.0, 1.0],
        "parts": {"tags": {"weight": 0.5}, "language": {"how": "multiply"}, "brevity": {"checker": "length", "weight": -0.25}},
    }
)


@pytest.mark.parametrize(
    ("correct", "tags", "language", "brevity", "reward"),
    [
        (1.0, 1.0, 1.0, 0.0, 1.5),
        (1.0, 0.0, 0.0, 0.0, -1.0),
        (0.0, 1.0, 1.0, 1.0, -0.75),
        (0.5, 0.0, 1.0, 0.0, 0.0),
        (1.0, 0.0, 0.5, 0.0, 0.0),
    ],
)
def test_parts_are_weighed_multiplied_and_kept_as_they_were(
    correct: float, tags: float, language: float, brevity: float, reward: float
) -> None:
    parts = {"tags": tags, "language": language, "brevity": brevity}
    shaped = shape(PARTS, scored(correct), {name: scored(value) for name, value in parts.items()}, 5, 20)
    assert shaped == Verdict(reward=reward, parts={"correct": correct, **parts})


@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.CRASHED, Outcome.UNSCORABLE])
def test_a_failure_stays_a_failure_of_its_kind_with_the_parts_name(outcome: Outcome) -> None:
    failure = Verdict.failed(outcome, "what happened")
    good = {"tags": scored(1.0), "language": scored(1.0), "brevity": scored(1.0)}
    assert shape(PARTS, failure, good, 20, 20) == failure
    assert shape(PARTS, scored(1.0), good | {"language": failure}, 20, 20) == Verdict.failed(outcome, "part 'language': what happened")


def test_the_weighed_parts_add_up_to_the_reward_but_for_its_lowest_value() -> None:
    config = RewardConfig(
        range=(-1.0, 1.0),
        overlong_cache=4,
        parts={"a": PartConfig(weight=0.3), "b": PartConfig(how="multiply"), "c": PartConfig(weight=-2)},
    )
    numbers = [(1.0, 0.5, 1.0, 0.25, 3), (0.0, 1.0, 1.0, 1.0, 8), (1.0, 0.0, 0.0, 0.0, 6)]  # correct, a, b, c, length
    verdicts = [shape(config, scored(x), {"a": scored(a), "b": scored(b), "c": scored(c)}, n, 8) for x, a, b, c, n in numbers]
    verdicts.append(Verdict.failed(Outcome.CRASHED, "gone"))
    parts = {name: np.array([v.parts.get(name, np.nan) for v in verdicts]) for name in ("correct", "a", "b", "c", "overlong")}
    rewards = [v.reward for v in verdicts[:3]]
    summary = replace(toy_summary(0, [*rewards, None], parts=parts), correct=parts["correct"])
    found = weighed_parts(config, summary)
    assert [weight for weight, _ in found] == [2.0, 0.3, -2.0, 1.0]
    np.testing.assert_allclose(sum(weight * values for weight, values in found) - 1.0, summary.rewards, atol=1e-12)


def test_a_group_of_failures_has_every_part_without_a_number() -> None:
    config = RewardConfig(overlong_cache=4, parts={"a": PartConfig(), "b": PartConfig(how="multiply")})
    found = weighed_parts(config, toy_summary(0, [None, None]))
    assert [weight for weight, _ in found] == [1.0, 1.0, 1.0]
    assert all(np.isnan(values).all() for _, values in found)
