"""Which part of a response is its final answer."""

import time

import pytest

from reward.answers.answer import marked_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("no mark", None),
        ("", None),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1\}}", r"\{1\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{ \boxed{3} }", "3"),
        (r"\boxed {4}", "4"),
        (r"\boxed 5 is it", "5"),
        (r"\boxed6", "6"),
        (r"\fbox{7}", "7"),
        (r"} \boxed{8} {", "8"),
        (r"\boxed{1}, \boxed{2} and $\boxed{3}$", "1, 2, 3"),
        (r"\boxed{1} \text{ or } \boxed{2}", "1, 2"),
        (r"\boxed{1} or \boxed{1}", "1"),
        (r"\boxed{1} \boxed{2}", "1, 2"),
        (r"\boxed{1} or \boxed{2", ""),
        (r"use \boxed. \boxed{9}", "9"),
        ("use \\boxed.", None),
        ("#### 10", "10"),
        ("so 3 #### 11 \n more", "11"),
        ("#### 1\n#### 12", "1, 12"),
        ("####", ""),
        ("##### 13", None),
        ("#### Step 2\nwe add", None),
        ("#### 2. Add\nwe add", None),
        ("#### Monday", "Monday"),
        ("<answer> 14 </answer>", "14"),
        ("<ANSWER>15</Answer>", "15"),
        ("<answer>1</answer><answer>16</answer>", "1, 16"),
        ("<answer>17", "17"),
        ("17</answer>", None),
        ("<answer>#### 18</answer>", "18"),
        ("<answer>19</answer>\n#### 20", "19"),
        (r"\boxed{1}<answer>21</answer>", "21"),
        (r"<answer>1</answer>\boxed{22}", "22"),
        (r"<answer>is \boxed{23}.</answer>", "23"),
        (r"\boxed{1}</think>", None),
        (r"\boxed{1}</think>\boxed{24}", "24"),
        ("<think>" + r"\boxed{25}", "25"),
    ],
)
def test_the_last_mark_holds_the_answer(response: str, answer: str | None) -> None:
    assert marked_answer(response) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{3} \\quad \\text{or} \\quad \\boxed{4}", "3, 4"),
        ("\\(\\boxed{3}\\) and \\(\\boxed{4}\\)", "3, 4"),
        ("\\boxed{3},\\quad \\boxed{4}", "3, 4"),
        ("\\boxed{3},\\qquad\\boxed{4}", "3, 4"),
        ("$\\boxed{3}$\nand\n$\\boxed{4}$", "3, 4"),
        ("$\\boxed{3}$\n\nor\n\n$\\boxed{4}$", "3, 4"),
        ("\\boxed{3}\\;\\boxed{4}", "3, 4"),
        ("$\\boxed{3}$ or $\\boxed{4}$", "3, 4"),
        ("\\boxed{3} \\text{ or } \\boxed{4}", "3, 4"),
        ("\\boxed{3} or maybe \\boxed{4}", "3, 4"),
        ("\\boxed{3}, or possibly \\boxed{4}", "3, 4"),
        ("\\boxed{3} / \\boxed{4}", "3, 4"),
        ("\\boxed{3} | \\boxed{4}", "3, 4"),
        ("\\boxed{3}; or \\boxed{4}", "3, 4"),
        ("\\boxed{3}. Alternatively, \\boxed{4}", "3, 4"),
        ("either \\boxed{3} or \\boxed{4}", "3, 4"),
        ("**\\boxed{3}** or **\\boxed{4}**", "3, 4"),
        ("\\boxed{3} and/or \\boxed{4}", "3, 4"),
        ("<answer>3</answer> or \\boxed{4}", "3, 4"),
        ("\\boxed{3} or <answer>4</answer>", "3, 4"),
        ("<answer>3</answer> or <answer>4</answer>", "3, 4"),
        ("<answer>\\boxed{3}</answer><answer>\\boxed{4}</answer>", "3, 4"),
        ("#### 3\n#### 4", "3, 4"),
        ("#### 3\nor\n#### 4", "3, 4"),
        ("#### 3 or\n#### 4", "3 or, 4"),
        ("\\boxed{3} or it could be \\boxed{4}", "3, 4"),
        ("\\boxed{3} or the answer is \\boxed{4}", "3, 4"),
        ("\\boxed{3}. It could also be \\boxed{4}.", "3, 4"),
        ("\\boxed{3}\\text{ oder }\\boxed{4}", "3, 4"),
        ("$\\boxed{3}$ 或 $\\boxed{4}$", "3, 4"),
        ("$\\boxed{3}$、$\\boxed{4}$", "3, 4"),
        ("$x=\\boxed{3}$ or $x=\\boxed{4}$", "3, 4"),
        ("$x=\\boxed{3}, y=\\boxed{4}$", "3, 4"),
        ("\\boxed{3} apples and \\boxed{4} pears", "3, 4"),
        ("\\boxed{3} \\lor \\boxed{4}", "3, 4"),
        ("\\boxed{3} \\\\ \\boxed{4}", "3, 4"),
        ("\\boxed{3} & \\boxed{4}", "3, 4"),
        ("\\boxed{3} (or \\boxed{4})", "3, 4"),
        ("\\boxed{3} vs \\boxed{4}", "3, 4"),
        ("\\boxed{3}. Another possible answer is \\boxed{4}", "3, 4"),
        ("\\boxed{3} — or \\boxed{4}", "3, 4"),
        ("\\boxed{3} \\textbf{ or perhaps } \\boxed{4}", "3, 4"),
        ("- $\\boxed{3}$\n- $\\boxed{4}$", "3, 4"),
        ("1. $\\boxed{3}$\n2. $\\boxed{4}$", "4"),
        ("We get \\boxed{3}. Wait, that is wrong: \\boxed{4}", "4"),
        ("\\boxed{3}. No, \\boxed{4}", "4"),
        ("\\boxed{3} or rather \\boxed{4}", "4"),
        ("\\boxed{3}, so \\boxed{4}", "4"),
        ("$\\boxed{3} = \\boxed{4}$", "4"),
        ("\\boxed{\\frac12}, or equivalently \\boxed{0.5}", "0.5"),
        ("\\boxed{\\frac12}, or in decimal form \\boxed{0.5}", "0.5"),
        ("John has $\\boxed{3}$ and Mary has $\\boxed{4}$, so the total is $\\boxed{7}$", "7"),
        ("First \\boxed{3} is found. Then we add one and have \\boxed{4}", "4"),
        ("Step 1: $\\boxed{3}$\n\nStep 2: $\\boxed{4}$", "4"),
        ("\\boxed{41} then \\boxed{42}", "42"),
        ("\\boxed{3}? \\boxed{4}", "4"),
        ("\\boxed{41} <answer>42</answer>", "42"),
        ("#### 3\nThen more.\n#### 4", "4"),
        ("#### 步骤 3\n所以答案是 42。", None),
        ("#### Шаг 2\nит\u0430к", None),
        ("#### **Step**\nfoo", None),
        ("#### 1. …\nfoo", None),
        ("#### 1. Add\nfoo", None),
        ("#### (a) First\nfoo", None),
        ("#### ✅ Final Answer\n42", None),
        ("#### 1、计算\nfoo", None),
        ("#### 2nd step\nfoo", None),
        ("#### **42**\nfoo", "**42**"),
        ("#### 42\nfoo", "42"),
        ("#### -3\nfoo", "-3"),
        ("#### $\\frac12$\nfoo", "$\\frac12$"),
        ("#### 18 dollars\nfoo", "18 dollars"),
        ("#### (1,2)\nfoo", "(1,2)"),
        ("#### 1.5\nfoo", "1.5"),
        ("#### 3:15\nfoo", "3:15"),
        ("#### 星期一", "星期一"),
        ("#### .5\nx", ".5"),
        ("#### €5\nx", "€5"),
        ("#### 1,000\nx", "1,000"),
        ("#### *Step 2*\nx", None),
        ("#### _Überlegung_\nx", None),
        ("#### \\boxed{4}\nx", "4"),
        ("#### 步骤 3\n\nfoo\n#### 7", "7"),
        ("#### 12.\nfoo", "12."),
        ("#### 3 + 4 = 7\nfoo", "3 + 4 = 7"),
        ("#### 2) Add\nx", None),
        ('#### "Step"\nx', None),
        ("#### ① 计算\nx", None),
        ("####\n42", "42"),
    ],
)
def test_answers_that_are_joined_are_one_and_headings_are_none(response: str, answer: str | None) -> None:
    assert marked_answer(response) == answer


@pytest.mark.parametrize(
    "flood",
    [r"\boxed{", r"\boxed{1}", r"\boxed{1},", "<answer>", "</answer>", "####", "#### a\n", "{", "}", r"\boxed ", r"\fbox{}}", "\\", " "],
)
def test_a_megabyte_of_marks_is_read_in_one_pass(flood: str) -> None:
    started = time.process_time()
    marked_answer(flood * (2**20 // len(flood)))
    assert time.process_time() - started < 10, "reading is linear: it takes about a second"


def test_boxes_long_before_the_last_do_not_change_it() -> None:
    assert marked_answer("\\boxed{1} so " * 100 + r"\\\\boxed{2} " * 40 + "and then \\boxed{3}") == "3"
    assert marked_answer(r"\\\\boxed{2} " * 40) is None
    assert marked_answer(r"\\boxed{2}") == "2", "one level of escaping too many"
