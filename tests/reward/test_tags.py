"""Which responses have the sections asked for, case by case."""

import pytest

from reward.checkers import check_reference, get_checker

tags = get_checker("tags")
TWO = ["think", "answer"]
OPENED = {"tags": TWO, "opened": ["think"]}
OUTSIDE = {"tags": TWO, "outside": True}
PARTIAL = {"tags": TWO, "partial": True}
PARTIAL_OUTSIDE = {"tags": TWO, "partial": True, "outside": True}


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("<think>a</think><answer>b</answer>", TWO),
        ("  <think>\na\n</think>\n\n<answer>\nb\n</answer>\n", TWO),
        ("<think>a <b>bold</b> b < c</think><answer>5 > 4</answer>", TWO),
        ("<think>I write <Answer> and <answers></think><answer>b</answer>", TWO),
        ("<answer>42</answer>", ["answer"]),
        ("<a.b-c>1</a.b-c>", ["a.b-c"]),
        ("<x思考>一</x思考>", ["x思考"]),
        ("Sure! <think>a</think> so <answer>b</answer> Bye.", OUTSIDE),
        ("a</think><answer>b</answer>", OPENED),
        ("\na\n</think>\n<answer>b</answer>", OPENED),
        ("<think>\ud800a</think><answer>\x00b</answer>", TWO),
        ("<think>a</think><answer>b</answer>", PARTIAL),
    ],
)
def test_a_response_with_its_sections_in_order_is_right(response: str, reference: object) -> None:
    assert tags.score(response, reference) == 1.0


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("", TWO),
        ("42", TWO),
        ("<think>a</think>", TWO),
        ("<think>a</think><answer>b", TWO),  # truncated
        ("<think>a", TWO),
        ("<think>a<answer>b</answer>", TWO),
        ("<answer>b</answer><think>a</think>", TWO),
        ("</think>a<think><answer>b</answer>", TWO),
        ("<think>a</think><think>a</think><answer>b</answer>", TWO),
        ("<think>a</think><answer>b</answer><answer>c</answer>", TWO),
        ("<think>a</think></think><answer>b</answer>", TWO),
        ("<think>a<answer>b</answer></think>", TWO),
        ("<think>a<answer>b</think></answer>", TWO),
        ("<think>I shall use `<answer>` tags</think><answer>b</answer>", TWO),
        ('<think>the tag "</think>" ends this</think><answer>b</answer>', TWO),
        ("<think>a</think><answer>```\n<answer>\n```</answer>", TWO),
        ("<think></think><answer>b</answer>", TWO),
        ("<think>a</think><answer> \n\t</answer>", TWO),
        ("<think>\u200b</think><answer>b</answer>", TWO),  # nothing that can be seen
        ("<think>a</think><answer>\ud800\x00</answer>", TWO),
        ("<Think>a</Think><Answer>b</Answer>", TWO),
        ("<think id=1>a</think><answer>b</answer>", TWO),
        ("< think >a</ think ><answer>b</answer>", TWO),
        ("<think>a</think ><answer>b</answer>", TWO),
        ("Sure! <think>a</think><answer>b</answer>", TWO),
        ("<think>a</think> so <answer>b</answer>", TWO),
        ("<think>a</think><answer>b</answer> Bye.", TWO),
        ("<think>a</think><answer>b</answer><note>c</note>", TWO),
        ("<answer>b</answer> <think>a</think>", OUTSIDE),
        ("<think>a</think><answer>b</answer>", OPENED),  # opened a second time
        ("<answer>b</answer>", OPENED),
        ("a", OPENED),
        ("</think><answer>b</answer>", OPENED),
        ("&lt;think&gt;a&lt;/think&gt;<answer>b</answer>", TWO),
        ("<answerx>b</answerx>", ["answer"]),
        ("<think/><answer>b</answer>", TWO),
    ],
)
def test_a_response_without_its_sections_is_wrong(response: str, reference: object) -> None:
    assert tags.score(response, reference) == 0.0


@pytest.mark.parametrize(
    ("response", "reference", "reward"),
    [
        ("", PARTIAL, 0.0),
        ("no tags at all", PARTIAL, 0.0),
        ("<think>a</think><answer>b", PARTIAL, 1 / 3),
        ("<think>a</think>", PARTIAL, 2 / 3),
        ("so <think>a</think><answer>b</answer>", PARTIAL, 2 / 3),
        ("<answer>b</answer><think>a</think>", PARTIAL, 1 / 3),
        ("<think>a</think><answer>b", PARTIAL_OUTSIDE, 1 / 2),
        ("<answer>b</answer>", PARTIAL_OUTSIDE, 1 / 2),
        ("<think>a<answer>b</answer></think>", PARTIAL_OUTSIDE, 1 / 2),
        ("<think>a</think><think>a</think><answer>b</answer>", PARTIAL_OUTSIDE, 1 / 2),
    ],
)
def test_partial_credit_is_the_share_of_what_is_right(response: str, reference: object, reward: float) -> None:
    assert tags.score(response, reference) == pytest.approx(reward)


@pytest.mark.parametrize("reference", [TWO, OPENED, OUTSIDE, PARTIAL, ["answer"]])
def test_the_gold_answer_of_a_layout_is_right(reference: object) -> None:
    check_reference("tags", reference)
    assert tags.score(tags.gold(reference) or "", reference) == 1.0


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("think", "must be a table"),
        (None, "must be a table"),
        ([], "at least one tag"),
        (["think", 5], "names such as"),
        (["<think>"], "without angle brackets"),
        (["a b"], "names such as"),
        (["a", "a"], "must differ"),
        ({}, "lacks tags"),
        ({"tags": "think"}, "tags must be a list"),
        ({"tags": TWO, "outside": 1}, "outside must be true or false"),
        ({"tags": TWO, "partal": True}, "did you mean 'partial'"),
        ({"tags": TWO, "opened": ["answer"]}, "opened may only name the first tag"),
    ],
)
def test_a_reference_that_is_no_layout_is_refused(reference: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_reference("tags", reference)
