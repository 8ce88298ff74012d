import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import presets
from learner.advantages import ADVANTAGES, has_signal
from learner.reductions import REDUCTIONS
from rollout.types import GroupSummary
from tests.learner_toys import toy_group

GOLDEN = json.loads((Path(__file__).parent / "golden" / "objectives.json").read_text())
NAN = float("nan")

rewards = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=12).map(np.array)
names = st.sampled_from(sorted(ADVANTAGES))


def test_every_choice_a_config_may_name_is_there() -> None:
    assert set(ADVANTAGES) == set(presets.ADVANTAGES)
    assert set(REDUCTIONS) == set(presets.REDUCTIONS)


def test_four_essays_get_the_advantages_of_the_textbook() -> None:
    advantages = ADVANTAGES["standardised"](np.array([80.0, 60.0, 20.0, 40.0]))
    np.testing.assert_allclose(advantages, [1.161895, 0.387298, -1.161895, -0.387298], atol=5e-7)


@pytest.mark.parametrize("name", ["standardised", "centred"])
def test_advantages_are_the_golden_ones(name: str) -> None:
    group, reward = np.array(GOLDEN["batch"]["group"]), np.array(GOLDEN["batch"]["reward"])
    ours = np.concatenate([ADVANTAGES[name](reward[group == g]) for g in (0, 1)])
    np.testing.assert_allclose(ours, GOLDEN["advantages"][name], atol=1e-12)
    np.testing.assert_allclose(ADVANTAGES[name](np.array(GOLDEN["essay"]["scores"])), GOLDEN["essay"][name], atol=1e-12)


def test_lone_successes_are_the_golden_ones() -> None:
    np.testing.assert_allclose(ADVANTAGES["standardised"](np.array([1.0, 0, 0, 0])), GOLDEN["edges"]["one_success_of_four"], atol=1e-12)
    np.testing.assert_allclose(ADVANTAGES["standardised"](np.array([1.0, 0.0])), GOLDEN["edges"]["group_of_two"], atol=1e-12)


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
@pytest.mark.parametrize(
    "equal",
    [
        [0.7] * 7,
        [float(np.float32(0.7))] * 7,
        [1.0] * 4,
        [1e12 + 0.7] * 7,
        [0.7, 0.7, 0.7 + 1e-12],
        [0.3, NAN, 0.3],
        [0.5],
        [NAN, 5.0, NAN],
        [NAN, NAN],
        [],
    ],
    ids=str,
)
def test_a_group_without_a_difference_gets_exactly_zero(name: str, equal: list[float]) -> None:
    assert ADVANTAGES[name](np.array(equal, np.float64)).tolist() == [0.0] * len(equal)


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
def test_a_failure_gets_zero_and_does_not_move_the_others(name: str) -> None:
    scored = ADVANTAGES[name](np.array([1.0, 0.0, 0.5]))
    assert ADVANTAGES[name](np.array([1.0, NAN, 0.0, 0.5, NAN])).tolist() == [scored[0], 0.0, scored[1], scored[2], 0.0]


@given(rewards, names, st.integers(-3, 3))
def test_a_constant_added_to_all_rewards_changes_nothing(rewards: np.ndarray, name: str, shift: int) -> None:
    np.testing.assert_allclose(ADVANTAGES[name](rewards + shift), ADVANTAGES[name](rewards), atol=1e-12)


@given(rewards, st.floats(0.5, 100))
def test_the_scale_of_rewards_does_not_matter_once_standardised(rewards: np.ndarray, scale: float) -> None:
    np.testing.assert_allclose(ADVANTAGES["standardised"](rewards * scale), ADVANTAGES["standardised"](rewards), atol=2e-5)
    np.testing.assert_allclose(ADVANTAGES["centred"](rewards * scale), scale * ADVANTAGES["centred"](rewards), atol=1e-9)


@given(rewards, names)
def test_advantages_of_a_group_sum_to_zero(rewards: np.ndarray, name: str) -> None:
    assert abs(ADVANTAGES[name](rewards).sum()) < 1e-9


@pytest.mark.parametrize(
    ("correct", "aborted", "expected"),
    [
        ([1, 0, 0], [0, 0, 0], True),
        ([1, 1, 1], [0, 0, 0], False),
        ([0.7, 0.7, 0.7], [0, 0, 0], False),
        ([1, NAN, 1], [0, 0, 0], False),
        ([1, NAN, 0], [0, 0, 0], True),
        ([1, 0, 1], [0, 1, 0], False),
        ([1, NAN, NAN], [0, 0, 0], False),
    ],
)
def test_signal_is_raw_correctness_that_varies_among_survivors(correct: list[float], aborted: list[int], expected: bool) -> None:
    summary = replace(
        GroupSummary.of(toy_group(0, members=3)),
        rewards=np.array([0.1, 0.2, 0.3]),  # shaped rewards always vary and must not count
        correct=np.array(correct, np.float64),
        aborted=np.array(aborted, np.bool_),
    )
    assert has_signal(summary) is expected
