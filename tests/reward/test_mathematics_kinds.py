"""Kinds of mathematical answers that people write in many ways: what equals what, and what does not.

One test judges all pairs and lists the wrong ones: a test for each pair costs ten times as long as the judging.
"""

from reward.answers.mathematics import boxed, check_math, not_understood
from tests.toys.pairs_of_structures import PAIRS as STRUCTURES
from tests.toys.pairs_of_values import PAIRS as VALUES

PAIRS = [*VALUES, *STRUCTURES]


def test_an_answer_equals_a_reference_of_the_same_meaning_only() -> None:
    assert [pair for pair in PAIRS if check_math(f"Therefore {boxed(pair[1])}.", pair[0]) != pair[2]] == []


def test_equality_holds_in_both_directions_of_what_is_understood() -> None:
    equal = [(reference, answer) for reference, answer, same in PAIRS if same and not_understood(answer) is None]
    assert len(equal) > len(PAIRS) // 4
    assert [(answer, reference) for reference, answer in equal if not check_math(f"Therefore {boxed(reference)}.", answer)] == []
