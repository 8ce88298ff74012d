"""How long texts are, and what a length is worth, case by case."""

# ruff: noqa: RUF001

import pytest

from reward.checkers import check_reference, get_checker
from reward.form.length import COUNTS

length = get_checker("length")


@pytest.mark.parametrize(
    ("text", "unit", "count"),
    [
        ("", "words", 0),
        (" \n", "words", 0),
        ("one two  three", "words", 3),
        ("don't stop-gap it's", "words", 3),
        ("3.14 is 1,234 less", "words", 4),
        ("- * # | ...", "words", 0),
        ("我们 学习", "words", 4),
        ("使用GPU计算", "words", 5),
        ("ひらがな カタカナ", "words", 8),
        ("한국어 문장", "words", 2),
        ("हिन्दी में", "words", 2),
        ("nai\u0308ve العَرَبِيَّة", "words", 2),
        ("snake_case", "words", 1),
        (" abc\n", "characters", 3),
        ("答案\U0001f600", "characters", 3),
        ("One. Two! Three? Four…", "sentences", 4),
        ("Dr. Smith met J. Doe at 3 p.m. today. He left.", "sentences", 2),
        ("It costs $3.50. No more", "sentences", 2),
        ("1. Wash it.\n2. Dry it.", "sentences", 2),
        ("Really?! Yes... maybe.", "sentences", 2),
        ('He said "no." Then he left.', "sentences", 2),
        ("# Title\n\nText.", "sentences", 2),
        ("你好。我很好！真的吗？", "sentences", 3),
        ("यह है। वह है।", "sentences", 2),
        ("... *** ...", "sentences", 0),
        ("a\n\n b \n\n\n", "lines", 2),
        ("a\nb\n\nc\n \nd", "paragraphs", 3),
        ("a\r\n\r\nb", "paragraphs", 2),
        ("\n\n", "paragraphs", 0),
    ],
)
def test_texts_are_counted_as_a_person_would(text: str, unit: str, count: int) -> None:
    assert COUNTS[unit](text) == count


@pytest.mark.parametrize(
    ("words", "reference", "reward"),
    [
        (5, {"min": 5, "max": 10}, 1.0),
        (10, {"min": 5, "max": 10}, 1.0),
        (4, {"min": 5, "max": 10}, 0.0),
        (11, {"min": 5, "max": 10}, 0.0),
        (0, {"min": 1}, 0.0),
        (0, {"max": 10}, 1.0),
        (99, {"min": 1}, 1.0),
        (9, {"min": 10, "soft": 4}, 0.75),
        (7, {"min": 10, "soft": 4}, 0.25),
        (6, {"min": 10, "soft": 4}, 0.0),
        (0, {"min": 10, "soft": 4}, 0.0),
        (12, {"max": 10, "soft": 4}, 0.5),
        (11, {"max": 10, "soft": 0.5}, 0.0),
        (10, {"min": 10, "max": 10}, 1.0),
        (10, {"min": 9.5, "max": 10.5}, 1.0),
    ],
)
def test_a_length_is_worth_one_inside_and_less_outside(words: int, reference: object, reward: float) -> None:
    assert length.score("word " * words, reference) == pytest.approx(reward)


@pytest.mark.parametrize("unit", COUNTS)
@pytest.mark.parametrize("ends", [{"min": 3}, {"max": 5}, {"min": 7, "max": 7}, {"max": 0}, {"min": 2.5, "max": 3.5}])
def test_the_gold_answer_of_a_length_is_right(unit: str, ends: dict[str, float]) -> None:
    reference = ends | {"unit": unit}
    check_reference("length", reference)
    gold = length.gold(reference)
    assert gold is not None
    assert length.score(gold, reference) == 1.0


def test_no_gold_answer_is_made_where_it_would_be_huge_or_there_is_none() -> None:
    assert length.gold({"min": 10**12}) is None
    assert length.gold({"min": 2.2, "max": 2.8}) is None


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (5, "must be a table"),
        ({}, "needs min or max or both"),
        ({"soft": 5}, "needs min or max or both"),
        ({"min": "5"}, "min must be a whole number or a number"),
        ({"min": True}, "min must be"),
        ({"min": 5, "max": 4}, "0 <= min <= max"),
        ({"min": -1}, "0 <= min <= max"),
        ({"max": float("nan")}, "0 <= min <= max"),
        ({"max": 5, "soft": -1}, "soft must be 0 or more"),
        ({"max": 5, "soft": float("inf")}, "soft must be 0 or more"),
        ({"max": 5, "unit": "tokens"}, "unit must be one of words"),
        ({"max": 5, "units": "words"}, "did you mean 'unit'"),
    ],
)
def test_a_reference_that_allows_no_length_is_refused(reference: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_reference("length", reference)
