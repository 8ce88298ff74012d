"""GDPO: the parts of a reward compared one by one, with values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from learner.loss.advantages import decouple, has_signal
from rollout.types import GroupSummary
from tests.learner.test_advantages import NAN, of
from tests.toys.learner import toy_group

TWO_PARTS: list[tuple[float, list[list[float]]]] = [  # correctness and format of two groups of four; the second group has equal sums
    (1.0, [[1, 0, 0, 0], [1, 1, 0, 0]]),
    (0.5, [[1, 1, 0, 0], [0, 0, 1, 1]]),
]


def parts_of(table: list[tuple[float, list[list[float]]]]) -> list[tuple[float, list[np.ndarray]]]:
    return [(weight, [np.array(group, np.float64) for group in groups]) for weight, groups in table]


def test_decoupled_parts_are_standardised_one_by_one_weighed_added_and_divided_by_the_spread_of_the_step() -> None:
    # By hand: one success of four has the scores 3/2 and -1/2 three times, two of four have +-sqrt(3)/2; std with G - 1.
    half = 3**0.5 / 2
    first = [1.5 + half / 2, -0.5 + half / 2, -0.5 - half / 2, -0.5 - half / 2]
    second = [half / 2, half / 2, -half / 2, -half / 2]
    spread = (sum(x * x for x in (*first, *second)) / 7) ** 0.5
    found = decouple(parts_of(TWO_PARTS))
    np.testing.assert_allclose(np.concatenate(found), np.array([*first, *second]) / spread, atol=5e-6)


def test_rewards_that_add_up_alike_differ_when_their_parts_are_compared() -> None:
    both, lone = parts_of([(1.0, [[1, 1, 0, 0]]), (1.0, [[0, 0, 1, 0]])])
    assert len(set(of("standardised", both[1][0] + lone[1][0])[0][:3])) == 1
    found = decouple([both, lone])[0]
    assert found[0] == found[1] != found[2]


def test_the_scale_of_a_part_does_not_matter_and_its_weight_does() -> None:
    (_, right), (_, form) = parts_of(TWO_PARTS)
    plain = np.concatenate(decouple([(1.0, right), (1.0, form)]))
    np.testing.assert_allclose(np.concatenate(decouple([(1.0, right), (1.0, [1000 * group - 7 for group in form])])), plain, atol=1e-5)
    assert not np.allclose(np.concatenate(decouple([(1.0, right), (3.0, form)])), plain, atol=0.1)
    np.testing.assert_allclose(np.concatenate(decouple([(2.0, right), (2.0, form)])), plain, atol=5e-6)
    np.testing.assert_allclose(np.concatenate(decouple([(0.0, right), (-1.0, form)])), -np.concatenate(decouple([(1.0, form)])), atol=1e-12)


def test_a_failed_response_is_in_neither_mean_nor_spread_of_any_part() -> None:
    (_, right), (_, form) = parts_of(TWO_PARTS)
    failed = [np.append(group, NAN) for group in right], [np.append(group, NAN) for group in form]
    found = decouple([(1.0, failed[0]), (0.5, failed[1])])
    for ours, theirs in zip(found, decouple(parts_of(TWO_PARTS)), strict=True):
        assert ours.tolist() == [*theirs.tolist(), 0.0]
    lone = decouple([(1.0, [*right, np.array([1.0, NAN])]), (0.5, [*form, np.array([0.0, NAN])])])  # nor is one without another
    assert [group.tolist() for group in lone] == [*(group.tolist() for group in decouple(parts_of(TWO_PARTS))), [0.0, 0.0]]


def test_parts_that_cancel_and_parts_that_never_differ_give_exactly_zero() -> None:
    right, wrong = [np.array([1.0, 0.0, 1.0])], [np.array([0.0, 1.0, 0.0])]
    assert decouple([(1.0, right), (1.0, wrong)])[0].tolist() == [0.0] * 3
    assert decouple([(1.0, [np.full(3, 0.7)]), (2.0, [np.full(3, 0.1)])])[0].tolist() == [0.0] * 3


@pytest.mark.parametrize(("parts", "expected"), [([[1, 1], [0, 1]], True), ([[1, 1], [3, 3]], False), ([[0.0, NAN]], False)])
def test_one_part_that_varies_is_signal_where_parts_are_compared(parts: list[list[float]], expected: bool) -> None:
    summary = replace(GroupSummary.of(toy_group(0, members=2)), correct=np.ones(2), aborted=np.zeros(2, np.bool_))
    assert not has_signal(summary)
    assert has_signal(summary, [np.array(part, np.float64) for part in parts]) is expected
