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
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{1} or \boxed{2", ""),
        (r"use \boxed. \boxed{9}", "9"),
        ("use \\boxed.", None),
        ("#### 10", "10"),
        ("so 3 #### 11 \n more", "11"),
        ("#### 1\n#### 12", "12"),
        ("####", ""),
        ("##### 13", None),
        ("#### Step 2\nwe add", None),
        ("#### 2. Add\nwe add", None),
        ("#### Monday", "Monday"),
        ("<answer> 14 </answer>", "14"),
        ("<ANSWER>15</Answer>", "15"),
        ("<answer>1</answer><answer>16</answer>", "16"),
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
    "flood",
    [r"\boxed{", r"\boxed{1}", r"\boxed{1},", "<answer>", "</answer>", "####", "#### a\n", "{", "}", r"\boxed ", r"\fbox{}}", "\\", " "],
)
def test_a_megabyte_of_marks_is_read_in_one_pass(flood: str) -> None:
    started = time.process_time()
    marked_answer(flood * (2**20 // len(flood)))
    assert time.process_time() - started < 10, "reading is linear: it takes about a second"
