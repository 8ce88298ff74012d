"""Kinds of mathematical answers that people write in many ways: what equals what, and what does not."""

import pytest

from reward.answers.mathematics import check_math, not_understood
from tests.toys.other_pairs import PAIRS as OTHER
from tests.toys.plain_pairs import PAIRS as PLAIN
from tests.toys.unit_pairs import PAIRS as UNITS

PAIRS = [*PLAIN, *OTHER, *UNITS]


@pytest.mark.parametrize(("reference", "answer", "equal"), PAIRS)
def test_an_answer_equals_a_reference_of_the_same_meaning_only(reference: str, answer: str, equal: bool) -> None:
    assert check_math(rf"Therefore \boxed{{{answer}}}.", reference) == equal


@pytest.mark.parametrize(("reference", "answer", "equal"), [pair for pair in PAIRS if pair[2]])
def test_equality_holds_in_both_directions_of_what_is_understood(reference: str, answer: str, equal: bool) -> None:
    if not_understood(answer) is None:
        assert check_math(rf"Therefore \boxed{{{reference}}}.", answer) == equal


@pytest.mark.parametrize(
    ("reference", "answer"), [("7", "m+n=7"), ("7", r"\frac{m}{n}=7"), ("7", "ab=7"), ("25", "a^2+b^2=25"), (r"\mathbb{R}", "R")]
)
def test_an_answer_may_name_what_has_the_value_but_an_equation_is_not_its_right_side(reference: str, answer: str) -> None:
    assert check_math(rf"\boxed{{{answer}}}", reference) == 1.0
    assert check_math(rf"\boxed{{{reference}}}", answer) == 0.0
