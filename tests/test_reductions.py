import numpy as np
import pytest

from learner.reductions import REDUCTIONS

LENGTHS = np.array([2, 0, 6, 4])


@pytest.mark.parametrize(
    ("name", "learned", "expected"),
    [
        ("token_mean", [True, True, True, True], [1 / 12, 0, 1 / 12, 1 / 12]),
        ("token_mean", [True, True, True, False], [1 / 8, 0, 1 / 8, 0]),
        ("sequence_mean", [True, True, True, True], [1 / 6, 0, 1 / 18, 1 / 12]),
        ("sequence_mean", [True, True, True, False], [1 / 4, 0, 1 / 12, 0]),
    ],
)
def test_weights_are_those_of_the_mean_over_learned_nonempty_responses(name: str, learned: list[bool], expected: list[float]) -> None:
    np.testing.assert_allclose(REDUCTIONS[name](LENGTHS, np.array(learned)), expected, rtol=1e-15)


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_with_nothing_to_learn_all_weights_are_zero(name: str) -> None:
    assert REDUCTIONS[name](LENGTHS, np.zeros(4, np.bool_)).tolist() == [0.0] * 4
    assert REDUCTIONS[name](np.zeros(2, np.int64), np.ones(2, np.bool_)).tolist() == [0.0] * 2
    assert REDUCTIONS[name](np.zeros(0, np.int64), np.zeros(0, np.bool_)).tolist() == []
