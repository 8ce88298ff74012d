"""Kinds of mathematical answers that people write in many ways: what equals what, and what does not."""

import pytest

from reward.answers.mathematics import check_math, not_understood
from tests.toys.pairs_of_structures import PAIRS as STRUCTURES
from tests.toys.pairs_of_values import PAIRS as VALUES

PAIRS = [*VALUES, *STRUCTURES]


@pytest.mark.parametrize(("reference", "answer", "equal"), PAIRS)
def test_an_answer_equals_a_reference_of_the_same_meaning_only(reference: str, answer: str, equal: bool) -> None:
    assert check_math(rf"Therefore \boxed{{{answer}}}.", reference) == equal


@pytest.mark.parametrize(("reference", "answer", "equal"), [pair for pair in PAIRS if pair[2]])
def test_equality_holds_in_both_directions_of_what_is_understood(reference: str, answer: str, equal: bool) -> None:
    if not_understood(answer) is None:
        assert check_math(rf"Therefore \boxed{{{reference}}}.", answer) == equal
