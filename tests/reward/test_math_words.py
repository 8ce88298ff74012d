"""When words are the answer to a mathematical question, case by case."""

import pytest

from reward.answers.math_words import reference_words, says


@pytest.mark.parametrize(
    ("response", "reference", "marked", "right"),
    [
        ("Monday", "Monday", True, True),
        (r"\text{Tuesday}", "Monday", True, False),
        ("no solutions", r"\text{no solution}", True, True),
        ("There are no solutions.", "No solution", True, True),
        ("one solution", "No solution", True, False),
        (r"\text{DNE}", r"\text{does not exist}", True, True),
        ("Infinitely many solutions", "Infinitely many", True, True),
        ("finitely many", "Infinitely many", True, False),
        ("所以答案是星期一。", "星期一", False, True),
        ("答案不是星期一。", "星期一", False, False),
        ("Answer: Monday\nThat is all.", "Monday", False, True),
        ("The answer isn't even", "even", False, False),
    ],
)
def test_words_are_equal_in_any_usual_spelling(response: str, reference: str, marked: bool, right: bool) -> None:
    words = reference_words(reference)
    assert words is not None
    assert says(response, words, marked=marked) is right
