"""Which letter a response has chosen, case by case."""

import pytest

from reward.checkers import check_reference, get_checker

choice = get_checker("choice")
CITIES = {"answer": "B", "options": {"A": "Rome", "B": "Paris", "C": "a dog", "D": "None of the above"}}


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("\\boxed{B}", "B"),
        ("\\boxed{\\text{B}}", "B"),
        ("\\boxed{(B)}", "B"),
        ("\\boxed{\\mathrm{(B)}}", "B"),
        ("\\boxed{B. Paris}", "B"),
        ("\\boxed{\\textbf{(B)}\\ 12}", "B"),
        ("\\boxed{b}", "B"),
        ("A is wrong because 3 is odd. C is wrong. So it must be B.", "B"),
        ("It's B.", "B"),
        ("Wait, the answer is not C. It is B.", "B"),
        ("It is A? \\boxed{A}. No: \\boxed{B}", "B"),
        ("<answer>B</answer>", "B"),
        ("<answer>(B) Paris</answer>", "B"),
        ("<answer>Paris</answer>", CITIES),
        ("<answer>The answer is B.</answer>", "B"),
        ("#### B", "B"),
        ("The answer is (B)", "B"),
        ("The answer is B.", "B"),
        ("Answer: B", "B"),
        ("Answer: **B**", "B"),
        ("**Answer:** B", "B"),
        ("**Answer: B**", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B", "B"),
        ("(B)", "B"),
        ("b", "B"),
        (" B) Paris", "B"),
        ("B. Paris", "B"),
        ("B: Paris", "B"),
        ("The correct answer is option B because it is in France.", "B"),
        ("The correct option is B", "B"),
        ("Option B is correct.", "B"),
        ("B is the correct answer.", "B"),
        ("I choose B.", "B"),
        ("I would go with option (B).", "B"),
        ("So the final answer is: $B$", "B"),
        ("final answer is $\\boxed{\\text{B}}$. I hope it is correct.", "B"),
        ("Paris is the capital (B)", "B"),
        ("A dog barks. So it must be (B).", "B"),
        ("The answer is a dog.", CITIES | {"answer": "C"}),
        ("The answer is B. Yes, the answer is B.", "B"),
        ("(A) Rome\n(B) Paris\nThe answer is (B).", "B"),
        ("(A) Rome is in Italy.\n(B) Paris is in France.\nHence (B).", "B"),
        ("<think>The answer is A. \\boxed{A}</think>The answer is B.", "B"),
        ("answer: b", "B"),
        ("The answer is b.", "B"),
        ("The answer is (b).", "B"),
        ("<answer>B. Paris</answer>", CITIES),
        ("Paris", CITIES),
        ("The answer is Paris.", CITIES),
        ("The answer is: None of the above", CITIES | {"answer": "D"}),
        ("Option A is wrong because it is in Italy. Option C is no city. The answer is B.", "B"),
        ("A is incorrect, C is incorrect. Therefore, B is correct.", "B"),
        ("Option B", "B"),
        ("The answer is\n\nB", "B"),
        ("The answer is:\n(B) Paris", "B"),
        ("Answer:B", "B"),
        ("The best choice is C.", "C"),
        ("Correct answer: D", "D"),
        ("The answer is B, A is in Italy.", "B"),
        ("My answer is B - Paris.", "B"),
        ("答案是 (B)", "B"),
        ("So the answer is **(B) Paris**.", "B"),
        ("The answer is `B`", "B"),
        ("The answer must be B", "B"),
        ("Answer - B", "B"),
        ("ANSWER: B", "B"),
        ("The correct choice here is B.", "B"),
        ("Thus, the correct answer is:\n\n**B. Paris**", "B"),
        ("The answer is B) Paris", "B"),
        ("**The correct answer is B**", "B"),
    ],
)
def test_choice_accepts_the_letter_however_it_is_given(response: str, reference: object) -> None:
    assert choice.score(response, reference) == 1.0


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("\\boxed{A} or \\boxed{B}", "B"),
        ("\\boxed{A, B}", "B"),
        ("\\boxed{A \\text{ and } B}", "B"),
        ("<answer>Rome</answer>", CITIES),
        ("<answer>A or B</answer>", "B"),
        ("#### A", "B"),
        ("A dog barks at night.", "A"),
        ("The answer is A dog.", "A"),
        ("A", "B"),
        ("The answer is a dog.", "A"),
        ("The options are A, B, C or D.", "B"),
        ("The answer is A, B, C or D.", "A"),
        ("The answer is A, B, C or D.", "D"),
        ("either A or B", "B"),
        ("The answer is either A or B.", "B"),
        ("The answer is A or B.", "A"),
        ("The answer is A and B.", "B"),
        ("The answer is A. The answer is B.", "B"),
        ("The answer is A. The answer is B.", "A"),
        ("(A) or (B)", "B"),
        ("(A) Rome\n(B) Paris\n(C) Bonn\n(D) Oslo", "D"),
        ("A. Rome\nB. Paris\nC. Bonn\nD. Oslo", "D"),
        ("(A) Rome (B) Paris (C) Bonn", "C"),
        ("", "B"),
        ("I do not know", "I"),
        ("The answer is I think unclear", "I"),
        ("The answer is not B", "B"),
        ("The answer isn't B.", "B"),
        ("B is not correct.", "B"),
        ("Option B is wrong", "B"),
        ("<think>The answer is B.</think>", "B"),
        ("<answer>B. Rome</answer>", CITIES),
        ("\\boxed{}", "B"),
        ("\\boxed{42}", "B"),
        ("\\boxed{B", "B"),
        ("\\boxed{E}", CITIES),
        ("BAD", "B"),
        ("Because", "B"),
        ("Is it A? Is it B? Is it C?", "C"),
        ("I pick A dog", "A"),
        ("A is correct. B is correct.", "A"),
    ],
)
def test_choice_refuses_another_letter_several_or_none(response: str, reference: object) -> None:
    assert choice.score(response, reference) == 0.0


def test_options_may_be_a_list_whose_letters_follow_from_the_order() -> None:
    reference = {"answer": "b", "options": ["Rome", "Paris"]}
    assert choice.score("<answer>paris</answer>", reference) == 1.0
    assert choice.score("<answer>rome</answer>", reference) == 0.0


def test_a_letter_before_the_text_of_another_option_decides_nothing() -> None:
    options = {"answer": "B", "options": ["3", "4", "5", "6"]}
    assert [choice.score(text, options) for text in ("A. 4", "The answer is A. 4", "B. 4", "4")] == [0.0, 0.0, 1.0, 1.0]


def test_two_options_of_the_same_text_decide_nothing() -> None:
    assert choice.score("<answer>Paris</answer>", {"answer": "A", "options": ["Paris", "paris"]}) == 0.0


@pytest.mark.parametrize("reference", ["A", "z", "(C)", "D.", CITIES, {"answer": "A"}, {"answer": "(b)", "options": ["no", "yes"]}])
def test_the_gold_answer_of_a_choice_is_right(reference: object) -> None:
    check_reference("choice", reference)
    gold = choice.gold(reference)
    assert gold is not None
    assert choice.score(gold, reference) == 1.0


@pytest.mark.parametrize(
    "reference",
    [None, "", 1, "AB", "Paris", "#### 5", ["A"], {}, {"options": ["x"]}, {"answer": 1}, {"answer": "C", "options": ["x", "y"]},
     {"answer": "A", "options": "xy"}, {"answer": "A", "options": {"a": "x"}}, {"answer": "A", "options": ["x"] * 27},
     {"answer": "A", "why": ""}],
)  # fmt: skip
def test_a_reference_that_names_no_option_is_an_error(reference: object) -> None:
    with pytest.raises(ValueError, match="checker 'choice': reference must"):
        check_reference("choice", reference)


@pytest.mark.parametrize(
    "response",
    [
        "Die Antwort lautet D.",
        "Antwort: D",
        "La bonne réponse est D.",
        "La réponse est la D",
        "Réponse : D",
        "La respuesta correcta es D.",
        "la opción correcta es la D",
        "La risposta corretta è D",
        "A resposta correta é a letra D.",
        "Правильный ответ: D",
        "Ответ: D.",
        "答案是D",
        "答案\uff1aD",
        "答案选D。",
        "故选D。",
        "因此选 D",
        "D选项正确",
        "答えはDです",
        "正解はDです",
        "正解\uff1aD",
        "정답은 D입니다.",
        "답은 D입니다",
        "정답: D",
        "not B but D",
        "The answer is not B but D.",
        "I rule out B. So D.",
        "**D**",
        "x\n\n**D**",
        "x\nThe answer is (D).",
        "Option D ist richtig",
        "we have 5.\nAnswer D",
        "so it is 3. Answer C and no.\nANS:D",
        "B is wrong. The answer is D.",
        "=3\nD is the answer",
        "We compute 1+1=2.\n\nD",
        "We compute 1+1=2.\n\nD) 2",
        "We compute 1+1=2.\n\nOption D",
        "We compute 1+1=2.\n\nAnswer D",
        "We compute 1+1=2.\n\nCorrect answer D",
        "We compute 1+1=2.\n\n### Final Answer\n**D**",
        "We compute 1+1=2, so option D.",
        "Ans is D",
        "Selected option: D",
        "Hence, answer will be D.",
        "We get $x=\\boxed{7}$.\n\nAnswer: D",
        "Die richtige Antwort ist D.",
    ],
)
def test_choice_reads_statements_in_other_languages_and_last_lines(response: str) -> None:
    assert choice.score(response, "D") == 1.0


@pytest.mark.parametrize(
    "response",
    [
        "The answer isn't D.",
        "D is not correct",
        "I rule out D",
        "D is wrong",
        "Die Antwort ist nicht D.",
        "不是D",
        "答案不是D",
        "The correct answer would not be (D)",
        "not D but C",
        "The answer is D? No, C.",
        "The answer is D or maybe C",
        "The answer is D, or possibly C",
        "The answer is not D but C",
        "If the answer is D, then no.",
        "I don't think the answer is D.",
        "A. 1\nB. 2\nC. 3\nD. 4",
        "A\nB\nC\nD",
        "La réponse n'est pas D",
        "The answer is anything but D",
        "It is not (D).",
        "Eliminate (D)",
        "The answer is C.\n\nD",
        "\\boxed{C} Answer: D",
    ],
)
def test_choice_takes_no_letter_that_is_denied_or_supposed(response: str) -> None:
    assert choice.score(response, "D") == 0.0
