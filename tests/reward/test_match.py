"""When two texts are the same answer, case by case."""

import pytest

from reward.checkers import check_reference, get_checker

match = get_checker("match")


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("Paris", "Paris"),
        ("paris", "PARIS"),
        (" The  Paris.\n", "Paris"),
        ("the Eiffel Tower", "Eiffel tower"),
        ("An apple a day", "apple day"),
        ("U.S.A.", "USA"),
        ("twenty-five", "twentyfive"),
        ("Stra\u00dfe", "STRASSE"),
        ("\uff30aris", "Paris"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u201cParis\u201d", "Paris"),
        ("\u5317\u4eac\u3002", "\u5317\u4eac"),
        ("Paris", ["London", "Paris"]),
        ("1984", 1984),
        ("1984", ["x", 1984]),
        ("It is in France. The answer is Paris.", "Paris"),
        ("Answer: Paris", "Paris"),
        ("**Answer:** Paris\nIt is in France.", "Paris"),
        ("First I thought the answer is Rome. Now the answer is\nthe answer is Paris", "Paris"),
        ("\\boxed{\\text{Paris}}", "Paris"),
        ("Rome? \\boxed{Paris}", "Paris"),
        ("<answer>Paris</answer> is in France", "Paris"),
        ("#### Paris", "Paris"),
        ("<think>Rome</think>Paris", "Paris"),
        ("The Answer is 42", "The answer is 42"),
        ("<answer>Paris</answer> or \\boxed{paris.}", "Paris"),
        ("\\boxed{Paris} and \\boxed{Rome}", "Paris, Rome"),
        ("\\boxed{\\textbf{\\text{Paris}}}", "Paris"),
        ("\u6240\u4ee5\u7b54\u6848\u662f\u5317\u4eac\u3002", "\u5317\u4eac"),
        ("Die Antwort ist Paris.", "Paris"),
        ("\u041e\u0442\u0432\u0435\u0442: \u041c\u043e\u0441\u043a\u0432\u0430.", "\u043c\u043e\u0441\u043a\u0432\u0430"),
        ("\u6b63\u89e3\u306f\u6771\u4eac", "\u6771\u4eac"),
        ("The answer is infinitely many.", "Infinitely many"),
    ],
)
def test_match_forgives_case_punctuation_articles_and_spaces(response: str, reference: object) -> None:
    assert match.score(response, reference) == 1.0


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("", "Paris"),
        ("Rome", "Paris"),
        ("Paris or Rome", "Paris"),
        ("Paris", "Paris, Texas"),
        ("I think Paris", "Paris"),
        ("cafe", "caf\u00e9"),
        ("theatre", "atre"),
        ("Paris", ["London", "Rome"]),
        ("<answer>Rome</answer> Paris", "Paris"),
        ("<answer></answer>Paris", "Paris"),
        ("\\boxed{Paris} or \\boxed{Rome}", "Paris"),
        ("The answer is Paris. The answer is Rome.", "Paris"),
        ("<think>Paris</think>", "Paris"),
        ("1,984.5", "1984"),
        ("The answer isn't Paris.", "Paris"),
        ("If the answer is Paris", "Paris"),
        ("\\boxed{Paris} \\quad \\text{or} \\quad \\boxed{Rome}", "Rome"),
        ("<answer>Paris</answer><answer>Rome</answer>", "Rome"),
    ],
)
def test_match_refuses_another_text(response: str, reference: object) -> None:
    assert match.score(response, reference) == 0.0


@pytest.mark.parametrize(
    "reference", ["Paris", "the answer", 0, -1.5, ["a b", "c"], "</answer> x", "a\nb", "\\boxed{x}", "#### y", "x</think>y"]
)
def test_the_gold_answer_of_a_match_is_right(reference: object) -> None:
    check_reference("match", reference)
    gold = match.gold(reference)
    assert gold is not None
    assert match.score(gold, reference) == 1.0


@pytest.mark.parametrize(
    "reference", [None, "", "the", "...", [], [""], ["x", None], {"a": 1}, True, float("nan"), [["x"]], "\\boxed{x", "x</think>"]
)
def test_a_reference_without_a_text_is_an_error(reference: object) -> None:
    with pytest.raises(ValueError, match="checker 'match': reference must"):
        check_reference("match", reference)
