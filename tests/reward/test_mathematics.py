"""What the checker of mathematics calls right and wrong, case by case."""

import subprocess
import sys

import pytest

from reward.checkers import check_reference, get_checker
from tests.toys.gsm8k import final_number, gsm8k_rows, with_wrong_number
from tests.toys.right_answers import RIGHT

checker = get_checker("math")
mathematics = checker.score

WRONG = [
    ("", "42"),
    ("", "0"),
    (" \n", 0),
    ("I do not know", "42"),
    ("43", "42"),
    ("-42", "42"),
    ("42 or rather 43", "42"),
    ("42. \\boxed{43}", "42"),
    ("#### 41", "42"),
    ("42\n####", "42"),
    ("<answer>41</answer> 42", "42"),
    ("\\boxed{}", "42"),
    ("\\boxed{42", "43"),
    ("0.333", "1/3"),
    ("0.5", "1/3"),
    ("421", "42"),
    ("4 2", "42"),
    ("1,23", "123"),
    ("5", "50%"),
    ("\\boxed{[0,1]}", "[0,1)"),
    ("\\boxed{(2,1)}", "(1,2)"),
    ("\\boxed{2x+1}", "2x+2"),
    ("\\boxed{41} and \\boxed{42}", "42"),
    ("100000000000000000001", "100000000000000000000"),
    ("\u0661\u0662", "42"),
    ("\\boxed{\\frac{1}{0}}", "42"),
    ("(" * 300, "42"),
    ("\\frac" * 300, "42"),
    ("\ud800\udfff\x00", "42"),
    ("\\boxed{5}", "50\\%"),
    ("\\boxed{(0,1)}", "[0,1]"),
    ("\\boxed{(0,1]}", "[0,1)"),
    ("\\boxed{(-\\infty, 3] \\cup (5, \\infty)}", "(-\\infty,3)\\cup(5,\\infty)"),
    ("\\boxed{1,2}", "1,2,3"),
    ("\\boxed{(2,1)}", "(1,2)"),
    ("\\boxed{(3,2,1)}", "(1,2,3)"),
    ("\\boxed{(1,2)}", "[1,2]"),
    ("\\boxed{\\{2,1\\}}", "(1,2)"),
    ("\\boxed{1}", "(1,2)"),
    ("\\boxed{\\begin{bmatrix}1&2\\\\3&5\\end{bmatrix}}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
    ("\\boxed{\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
    ("\\boxed{y = 5}", "x=5"),
    ("\\boxed{y = 2x+2}", "y=2x+1"),
    ("\\boxed{2}", "\\pm 2"),
    ("\\boxed{\\pm 2}", "2"),
    ("\\boxed{x=2, y=1}", "x=1, y=2"),
    ("\\boxed{\\text{Tuesday}}", "Monday"),
    ("\\boxed{yadnoM}", "Monday"),
    ("\\boxed{on}", "no"),
    ("\\boxed{\\text{False}}", "True"),
    ("\\boxed{False}", "True"),
    ("\\boxed{No}", "\\text{yes}"),
    ("\\boxed{B}", "C"),
    ("\\boxed{-5}", "5"),
    ("\\boxed{0.33}", "1/3"),
    ("\\boxed{4:3}", "3:4"),
    ("\\boxed{1.41}", "\\sqrt{2}"),
    ("\\boxed{3.14}", "\\pi"),
    ("\\boxed{3-4i}", "3+4i"),
    ("\\boxed{-\\infty}", "\\infty"),
    ("\\boxed{N}", "M"),
    ("\\boxed{12_{8}}", "12_{7}"),
    ("\\boxed{10:31}", "10:30"),
    ("\\boxed{10:30 PM}", "10:30 AM"),
    ("\\boxed{42} \\boxed{43}", "42"),
    ("\\boxed{99999999999999999999999998}", "99999999999999999999999999"),
    ("\\boxed{9007199254740993}", "9007199254740992"),
    ("\\boxed{9007199254740993.0}", "9007199254740992"),
    ("1e400", "1e401"),
    ("\\boxed{10^{400}}", "10^{401}"),
    ("\\boxed{x \\geq 3}", "x>3"),
    ("\\boxed{2 \\times 10^{-8}}", "1 \\times 10^{-8}"),
    ("\\boxed{0.00000002}", "0.00000001"),
    ("\\boxed{0}", "0.0000001"),
    ("0", "1e-9"),
    ("\\boxed{\\{2,1\\}}", "(1,2)"),
    ("\\boxed{}. It is 42.", "42"),
    ("It is 42, so \\boxed{42", "42"),
    ("<answer></answer> 42", "42"),
    ("<think>\\boxed{42}</think> I give up.", "42"),
    ("<answer>42</answer> no: <answer>43</answer>", "42"),
    ("<answer>42</answer>, that is \\boxed{43}", "42"),
    ("\\boxed{" + "9" * 9000 + "}", "9" * 8999 + "8"),
    ("\\boxed{" + "9" * 20000 + "}", "42"),
    ("\\boxed{-42}", 42),
    ("\\boxed{42x}", "42"),
    ("\\boxed{not even}", "even"),
    ("It is not even.", "even"),
    ("\\boxed{even or odd}", "even"),
    ("\\boxed{(1,234)}", "1234"),
    ("\\boxed{0.000123}", "0.000124"),
    ("\\boxed{(1,2,3)}", "(1,2)"),
    ("\\boxed{x < 3}", "(3, \\infty)"),
    ("\\boxed{1.234}", "611/495"),
    ("42 " + "x" * 5000, "42"),
    ("\\boxed{x > 3}", "x \\neq 2"),
    ("\\boxed{x \\neq 3}", "x \\neq 2"),
]


@pytest.mark.parametrize(("response", "reference"), RIGHT)
def test_math_accepts_an_equal_answer_however_it_is_written(response: str, reference: object) -> None:
    assert mathematics(response, reference) == 1.0


@pytest.mark.parametrize(("response", "reference"), WRONG)
def test_math_refuses_a_wrong_or_missing_answer(response: str, reference: object) -> None:
    assert mathematics(response, reference) == 0.0


@pytest.mark.parametrize("reference", dict.fromkeys(reference for _, reference in RIGHT))
def test_the_gold_answer_of_a_reference_is_right(reference: object) -> None:
    check_reference("math", reference)
    gold = checker.gold(reference)
    assert gold is not None
    assert mathematics(gold, reference) == 1.0


@pytest.mark.parametrize(
    "reference",
    [
        "####",
        "#### ",
        "$$",
        "$",
        "\\boxed{}",
        "\\boxed{1",
        "\\frac{1}{2",
        "1}{2",
        "1\\",
        "\\boxed{<answer>1}",
        "}{}{",
        "---",
        "?",
        "<answer></answer>",
    ],
)
def test_a_reference_that_is_no_mathematics_is_an_error(reference: str) -> None:
    with pytest.raises(ValueError, match="cannot be read as mathematics"):
        check_reference("math", reference)
    with pytest.raises(ValueError, match="cannot be read as mathematics"):
        mathematics("42", reference)


def test_a_reference_is_checked_without_symbolic_mathematics() -> None:
    code = "import sys; from reward.checkers import check_reference as c; c('math', '0.5'); print('mpmath' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_shortage_while_two_answers_are_compared_is_raised(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise error

    monkeypatch.setattr("reward.mathematics.compare.same_answer", fail)
    with pytest.raises(error):
        mathematics(r"\boxed{\sqrt{4}}", "3")


@pytest.mark.parametrize(
    "deep", ["(" * 500 + "1" + ")" * 500, r"\sqrt{" * 300 + "1" + "}" * 300, "-" * 900 + "1", "1" + "!" * 500, "2^" * 600 + "2"]
)
def test_an_answer_nested_too_deeply_is_wrong_and_as_a_reference_equals_its_own_text(deep: str) -> None:
    assert mathematics(rf"\boxed{{{deep}}}", "42") == 0.0
    assert mathematics(rf"\boxed{{{deep}}}", deep) == 1.0


def test_every_gsm8k_solution_is_right_and_every_wrong_number_is_wrong() -> None:
    rows = gsm8k_rows("test", "train")
    assert len(rows) == 8_792
    assert [row["answer"] for row in rows if mathematics(row["answer"], final_number(row)) != 1.0] == []
    assert [text for row in rows for text in with_wrong_number(row) if mathematics(text, final_number(row)) != 0.0] == []


def test_gsm8k_answers_in_prose_are_read() -> None:
    for row in gsm8k_rows("test")[::5]:
        steps, right = row["answer"].rpartition("####")[0], int(final_number(row).replace(",", ""))
        assert mathematics(f"{steps}\nThe answer is {right:,}.", row["answer"]) == 1.0, row
        assert mathematics(f"{steps}\nThe answer is {right + 1:,}.", row["answer"]) == 0.0, row
