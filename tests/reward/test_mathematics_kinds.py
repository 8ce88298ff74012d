"""Kinds of mathematical answers that people write in many ways: what equals what, and what does not.

One test judges all pairs and lists the wrong ones: a test for each pair costs ten times as long as the judging.
"""

import pytest

from reward.answers.mathematics import boxed, check_math, not_understood
from tests.toys.pairs_of_structures import PAIRS as STRUCTURES
from tests.toys.pairs_of_units import PAIRS as UNITS
from tests.toys.pairs_of_values import PAIRS as VALUES

PAIRS = [*VALUES, *STRUCTURES, *UNITS]


def test_an_answer_equals_a_reference_of_the_same_meaning_only() -> None:
    assert [pair for pair in PAIRS if check_math(f"Therefore {boxed(pair[1])}.", pair[0]) != pair[2]] == []


def test_equality_holds_in_both_directions_of_what_is_understood() -> None:
    equal = [(reference, answer) for reference, answer, same in PAIRS if same and not_understood(answer) is None]
    assert len(equal) > len(PAIRS) // 4
    assert [(answer, reference) for reference, answer in equal if not check_math(f"Therefore {boxed(reference)}.", answer)] == []


@pytest.mark.parametrize(
    ("reference", "answer"), [("7", "m+n=7"), ("7", r"\frac{m}{n}=7"), ("7", "ab=7"), ("25", "a^2+b^2=25"), (r"\mathbb{R}", "R")]
)
def test_an_answer_may_name_what_has_the_value_but_an_equation_is_not_its_right_side(reference: str, answer: str) -> None:
    assert check_math(boxed(answer), reference) == 1.0
    assert check_math(boxed(reference), answer) == 0.0


WHOLE = [  # reference, whole response, whether it is right: equations that give no value, boxes with one backslash too many
    (r"\frac{dy}{dx}=ky", r"\boxed{ky}", False),
    (r"\frac{dy}{dx}=ky", r"\boxed{\frac{dy}{dx}=ky}", True),
    (r"\frac{dy}{dx}=2x", r"\boxed{2x}", True),
    (r"2x", r"\boxed{\frac{dy}{dx}=2x}", True),
    (r"y'=y+x", r"\boxed{y+x}", False),
    (r"y'=2x", r"\boxed{2x}", True),
    (r"x=2x-1", r"\boxed{2x-1}", False),
    (r"\frac{d v}{d t}=g-bv", r"\boxed{g-bv}", False),
    (r"m \frac{d v}{d t}+b v=f", r"\boxed{f}", False),
    (r"f(x)=x+1", r"\boxed{x+1}", True),
    (r"840", r"so \\boxed{840}", True),
    (r"y=x^2", r"\boxed{x^2}", True),
    (r"y_{1}=-2 x^{2}+4 x+3, y_{2}=3 x^{2}+12 x+10", r"\($y_1 = \boxed{-2(x - 1)^2 + 5} \) and \( y_2 = \boxed{3(x + 2)^2 - 2} \) ", True),
    (r"12", r"a\\ \boxed{12}", True),
    (r"12", r"a\\\boxed{12}", True),
    (r"3", r"\[x=1\\\boxed{3}\]", True),
]


@pytest.mark.parametrize(("reference", "response", "right"), WHOLE)
def test_an_equation_about_its_own_left_side_gives_no_value_and_boxes_may_be_escaped_twice(
    reference: str, response: str, right: bool
) -> None:
    assert check_math(response, reference) == right
