import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from configs import presets
from learner.loss.reductions import REDUCTIONS, Extent

LENGTHS, GROUPS, BUDGET = [2, 0, 6, 4], [7, 7, 3, 3], 8
ALL, BUT_THE_LAST, BUT_THE_FIRST = [True] * 4, [True, True, True, False], [False, True, True, True]
every_reduction = pytest.mark.parametrize("name", sorted(REDUCTIONS))


def of(name: str, lengths: ArrayLike, learned: ArrayLike, group: ArrayLike, budget: int = BUDGET) -> np.ndarray:
    extent = Extent(
        lengths=np.array(lengths, np.int64), learned=np.array(learned, np.bool_), group=np.array(group, np.int64), budget=budget
    )
    return REDUCTIONS[name](extent)


def test_every_choice_a_config_may_name_is_there() -> None:
    assert set(REDUCTIONS) == set(presets.REDUCTIONS)


@pytest.mark.parametrize(
    ("name", "learned", "expected"),
    [
        ("token_mean", ALL, [1 / 12, 0, 1 / 12, 1 / 12]),
        ("token_mean", BUT_THE_LAST, [1 / 8, 0, 1 / 8, 0]),
        ("prompt_token_mean", ALL, [1 / 2 / 2, 0, 1 / 2 / 10, 1 / 2 / 10]),
        ("prompt_token_mean", BUT_THE_LAST, [1 / 2 / 2, 0, 1 / 2 / 6, 0]),
        ("prompt_token_mean", BUT_THE_FIRST, [0, 0, 1 / 10, 1 / 10]),
        ("sequence_mean", ALL, [1 / 3 / 2, 0, 1 / 3 / 6, 1 / 3 / 4]),
        ("sequence_mean", BUT_THE_LAST, [1 / 2 / 2, 0, 1 / 2 / 6, 0]),
        ("prompt_mean", ALL, [1 / 2 / 1 / 2, 0, 1 / 2 / 2 / 6, 1 / 2 / 2 / 4]),
        ("prompt_mean", BUT_THE_LAST, [1 / 2 / 1 / 2, 0, 1 / 2 / 1 / 6, 0]),
        ("prompt_mean", BUT_THE_FIRST, [0, 0, 1 / 2 / 6, 1 / 2 / 4]),
        ("sequence_sum", ALL, [1 / 3, 0, 1 / 3, 1 / 3]),
        ("sequence_sum", BUT_THE_LAST, [1 / 2, 0, 1 / 2, 0]),
        ("budget_mean", ALL, [1 / 3 / 8, 0, 1 / 3 / 8, 1 / 3 / 8]),
        ("budget_mean", BUT_THE_LAST, [1 / 2 / 8, 0, 1 / 2 / 8, 0]),
    ],
)
def test_weights_are_those_of_the_mean_over_learned_nonempty_responses(name: str, learned: list[bool], expected: list[float]) -> None:
    np.testing.assert_allclose(of(name, LENGTHS, learned, GROUPS), expected, rtol=1e-15)


@every_reduction
def test_with_nothing_to_learn_all_weights_are_zero(name: str) -> None:
    with np.errstate(all="raise"):
        assert of(name, LENGTHS, [False] * 4, GROUPS).tolist() == [0.0] * 4
        assert of(name, [0, 0], [True, True], [0, 1]).tolist() == [0.0] * 2
        assert of(name, [], [], []).tolist() == []
        assert of(name, [0, 5], [True, True], [0, 1])[0] == 0


updates = st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12)


@pytest.mark.parametrize("name", ["token_mean", "prompt_token_mean", "sequence_mean", "prompt_mean"])
@given(updates)
def test_a_mean_of_ones_is_one(name: str, update: list[tuple[int, bool, int]]) -> None:
    lengths, learned, group = zip(*update, strict=True)
    total = (of(name, lengths, learned, group) * np.array(lengths)).sum()
    assert total == pytest.approx(1.0 if any(n and kept for n, kept, _ in update) else 0.0)


@every_reduction
@given(updates, st.integers(0, 100))
def test_the_order_of_responses_and_the_names_of_groups_do_not_matter(name: str, update: list[tuple[int, bool, int]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(update))
    lengths, learned, group = (np.array(column) for column in zip(*update, strict=True))
    shuffled = of(name, lengths[order], learned[order], 100 - 7 * group[order])
    np.testing.assert_allclose(shuffled, of(name, lengths, learned, group)[order], rtol=1e-12)


@given(st.lists(st.integers(1, 9), min_size=6, max_size=6))
def test_over_whole_groups_of_one_size_the_means_over_prompts_are_those_over_responses(lengths: list[int]) -> None:
    group = [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(of("prompt_mean", lengths, [True] * 6, group), of("sequence_mean", lengths, [True] * 6, group), rtol=1e-12)
    equal = [lengths[0]] * 6
    np.testing.assert_allclose(of("prompt_token_mean", equal, [True] * 6, group), of("token_mean", equal, [True] * 6, group), rtol=1e-12)


def test_the_budget_alone_decides_the_scale_of_the_budget_mean() -> None:
    np.testing.assert_allclose(
        of("budget_mean", [2, 5], [True, True], [0, 0], budget=16), of("budget_mean", [2, 5], [True, True], [0, 0], budget=8) / 2
    )
    np.testing.assert_allclose(of("budget_mean", [2, 5], [True, True], [0, 0], budget=1), of("sequence_sum", [2, 5], [True, True], [0, 0]))
