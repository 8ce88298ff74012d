"""Right answers in other words, and near misses, that `rewards check` tries."""

import json
from typing import Any

import pytest

from reward.checkers import CHECKERS, check_reference
from reward.mathematics.nodes import Symbol
from reward.mathematics.read import read_answer
from reward.trials.misses import misses
from reward.trials.value import apart
from reward.trials.written import UnwritableError, written
from tests.toys.gsm8k import DATA

FILES = ("math500", "minerva_math", "gaokao2023en", "amc23", "aime24", "aqua")


def texts(responses: list[str]) -> set[str]:
    return {one.removeprefix(r"\boxed{").removesuffix("}") for one in responses}


@pytest.mark.parametrize(
    ("reference", "words", "wrong"),
    [
        ("1234", {"1,234", r"1,\!234", "1234.0", "x = 1234"}, {"0", "1235", "-1234", r"2 \cdot 1234"}),
        ("3/4", {r"\frac{3}{4}", "0.75", r"\frac{9}{12}"}, {r"\frac{4}{4}", "3", "4"}),
        (r"\frac{1}{3}", {r"\dfrac{1}{3}", "0.3333333333"}, {r"\frac{1}{4}"}),
        (r"12.5\%", {"12.5"}, {r"12.6\%"}),
        ("x=3", {"3"}, {"x = 4", "x = -3"}),
        ("1,2,3", {"3, 2, 1"}, {"1, 2", "1, 2, 3, 10"}),
        ("(1,2]", set(), {r"\left( 1, 2 \right)", r"\left[ 1, 2 \right]", r"\left( 2, 1 \right]", "2"}),
        ("x>5", set(), {r"x \ge 5", "x < 5", "5"}),
        (r"1\pm\sqrt{19}", set(), {r"1 + \sqrt{19}"}),
        (r"\{x|-2\leq x < 1\}", set(), {"2", "1"}),
        (r"\frac{\pi}{2}+k\pi (k\in \mathbb{Z})", set(), {"2"}),
        (r"(-\infty,1)\cup(2,\infty)", set(), {"1", "2"}),
        ("1:2:3", set(), {"1:2:4"}),
        (r"204_5", set(), {"204_{6}", "200_{5}"}),
    ],
)
def test_answers_of_each_kind_have_other_words_and_near_misses(reference: str, words: set[str], wrong: set[str]) -> None:
    checker = CHECKERS["math"]
    assert words <= texts(checker.other_words(reference))
    assert wrong <= texts(checker.near_misses(reference))


@pytest.mark.parametrize(
    ("reference", "same"),
    [("0", "-0"), ("2/2", "1"), ("x^2", "(-x)^2"), ("0.333", "0.3331"), ("|x|", "|-x|"), ("x+y", "y+x"), ("2^{10}", "1024")],
)
def test_what_may_be_equal_is_no_near_miss(reference: str, same: str) -> None:
    first, second = read_answer(reference), read_answer(same)
    assert first is not None
    assert second is not None
    assert not apart(first, second)


def test_zero_has_no_near_miss_that_is_zero() -> None:
    assert texts(CHECKERS["math"].near_misses("0")) == {"1"}


@pytest.mark.parametrize("text", ["x^2+1", r"\frac{a+b}{-2}", r"2\sqrt[3]{5}-1", r"-\frac{3}{4}", r"\{1,2\}", "3.50", r"x\le 5", "(1,-2)"])
def test_what_is_written_is_read_as_the_same_value(text: str) -> None:
    node = read_answer(text)
    assert node is not None
    assert read_answer(written(node)) == node


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("choice", "B"),
        ("choice", {"answer": "Z", "options": {"Y": "one", "Z": "two"}}),
        ("exact", "a"),
        ("match", ["Paris", "the city of Paris"]),
        ("json", {"schema": {"required": ["a"], "example": {"a": 1}}}),
    ],
)
def test_other_checkers_judge_their_own_trials_rightly(name: str, reference: Any) -> None:
    checker = CHECKERS[name]
    check_reference(name, reference)
    assert [text for text in checker.other_words(reference) if checker.score(text, reference) != 1.0] == []
    assert checker.near_misses(reference)
    assert [text for text in checker.near_misses(reference) if checker.score(text, reference) != 0.0] == []


@pytest.mark.parametrize("file", FILES)
def test_references_of_public_files_are_read_or_listed_and_their_near_misses_are_written(file: str) -> None:
    path = DATA / "field" / f"{file}.jsonl"
    if not path.exists():
        pytest.skip(f"no public data at {path}: set GATEWISE_DATA to the folder that holds field/{path.name}")
    answers = [row["answer"] for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()) if row["answer"] != ""]
    name = "choice" if file == "aqua" else "math"
    unread = [answer for answer in answers if CHECKERS[name].not_understood(answer)]
    assert len(unread) <= len(answers) // 10, unread
    judged = [(answer, text) for answer in answers[::10] for text in CHECKERS[name].near_misses(answer)]
    assert len(judged) >= len(answers) // 20
    assert [(answer, text) for answer, text in judged if CHECKERS[name].score(text, answer) != 0.0] == []


def test_every_miss_of_a_value_is_proven_apart() -> None:
    node = read_answer(r"2\sqrt{3}+1")
    assert node is not None
    found = list(misses(node))
    assert len(found) > 5
    assert all(apart(node, one) for one in found)
    with pytest.raises(UnwritableError):
        written(Symbol("f_12"))
