"""What a text without a mark gives as its final answer, case by case."""

import time

import pytest

from reward.answers.prose import prose_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so x = 2\\sqrt{3} cm.", "x = 2\\sqrt{3} cm"),
        ("$x^2+1$", "$x^2+1$"),
        ("The two numbers are 961 and 1024.", "961 and 1024"),
        ("答案\uff1a42", "42"),
        ("所以答案是 42。", "42"),
        ("答案为 $\\frac12$", "$\\frac12$"),
        ("La réponse est 42", "42"),
        ("Die Antwort ist 42", "42"),
        ("La respuesta es 42", "42"),
        ("answer: **42**", "42"),
        ("Thus the final answer is: $42$.", "$42$"),
        ("The answer is 3, since 4 is too large", "3"),
        ("The answer is 3 or 4", "3 or 4"),
        ("the answer isn't 5", None),
        ("the answer is not 5.", None),
        ("The answer is not 5 but 7", "7"),
        ("so\n\\[\nx = \\frac{1}{2}\n\\]\n", "\\[\nx = \\frac{1}{2}\n\\]"),
        ("It costs $18.", "$18"),
        ("It costs \\$18 now", "\\$18"),
        ("He earns 18 dollars per day", "18 dollars per day"),
        ("so 1,234.", "1,234"),
        ("50%", "50%"),
        ("3/4", "3/4"),
        ("It is 2 1/2 of it", "2 1/2"),
        ("So 5/6.", "5/6"),
        ("-3", "-3"),
        ("1e-3", "1e-3"),
        ("It is 3:15 p.m.", "3:15 p.m."),
        ("3 (or 4)", "3 or 4"),
        ("The answer is 3. The answer is 4.", "3, 4"),
        ("The answer is 3 dollars. The final answer is $3.", "$3"),
        ("3 + 4 = 7, and 7 * 6 = 42", "7 * 6 = 42"),
        ("42 or rather 43", "43"),
        ("she has 12 apples left over 3 days.", "3 days"),
        ("so $x$ is 12", "12"),
        ("12$", "12$"),
        ("It costs $1,234.50 in all", "$1,234.50"),
        ("The final answer is \\(42\\).", "\\(42\\)"),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "$42$"),
        ("Answer: 42", "42"),
        ("**42**", "42"),
        ("答案是 42", "42"),
        ("\uff14\uff12", "42"),
        ("2 1/2 cups", "2 1/2 cups"),
        ("4 2", "4 2"),
        ("\u22125", "\u22125"),
        ("x = 5", "x = 5"),
        ("The roots are 2, 3 and 5.", "2, 3 and 5"),
        ("x = 2 or x = 3", "x = 2 or x = 3"),
        ("In 2020, 42 people came", "42"),
        ("There are 8 cows and 11 hens.", "8 and 11"),
        ("1. First we add.\n2. So it is five.", None),
        ("### Final Answer\n42", "42"),
        ("**Final Answer**\n\n$\\frac{1}{2}$", "$\\frac{1}{2}$"),
        ("Answer 42", "42"),
        ("Ответ: 42", "42"),
        ("정답은 42입니다.", "42"),
        ("答えは42です。", "42"),
        ("Risposta: 42", "42"),
        ("x - 5 = 10 so x = 15", "x = 15"),
        ("- 5 apples", "5"),
        ("the set (1,2)", "(1,2)"),
        ("interval [0, 1) is it", "[0, 1)"),
        ("f(x) = x^2 + 3x", "f(x) = x^2 + 3x"),
        ("It is 5!", "5"),
        ("100!/98!", "100!/98!"),
        ("it is 1st", None),
        ("$5 + $10 = $15", "$5 + $10 = $15"),
        ("She pays $5 and he pays $7", "$7"),
        ("The answer is **$18**", "$18"),
        ("The answer is 42. Since 3 of 7", "42"),
        ("if the answer is 5, then no. So 7.", "7"),
        ("The answer to question 3 is 42", "42"),
        ("\\begin{align*} x &= 1+2 \\\\ &= 3 \\end{align*}", "x = 1+2 = 3"),
        ("I know it is 42, not 43", "42"),
        ("no number", None),
        ("", None),
        ("The answer is: 5 million dollars", "5 million dollars"),
        ("10^-3", "10^-3"),
        ("2*pi", "2*pi"),
        ("sqrt(3)/pi", "sqrt(3)/pi"),
        ("x \\equiv 3 \\pmod 7", "x \\equiv 3 \\pmod 7"),
        ("The answer is therefore 12 cm^2.", "12 cm^2"),
        ("90°", "90°"),
        ("about 3.14", "3.14"),
        ("2**3", "2**3"),
        ("The answer is 2x+1", "2x+1"),
        ("The answer is \\frac{3}{4}", "\\frac{3}{4}"),
        ("It was 12:00.", "12:00"),
        (r"so $DE$ is $\sqrt{a},$ or $\sqrt{100 - 49} = \sqrt{51}$.", r"$\sqrt{100 - 49} = \sqrt{51}$"),
        ("Now find the answer\nThere are 3 of 5.", "5"),
        ("We get 42.\n\n", "42"),
    ],
)
def test_the_final_answer_of_prose_is_read_whole(text: str, answer: str | None) -> None:
    assert prose_answer(text) == answer


@pytest.mark.parametrize(
    "flood", ["(", "$", "\\[", "$1 ", "1 or ", " ", "answer", "answer is ", "the answer to ", "答案", "answer a b c d e ", "1. ", "{", "*"]
)
def test_a_megabyte_of_prose_is_read_in_linear_time(flood: str) -> None:
    started = time.process_time()
    prose_answer(flood * (2**20 // len(flood)))
    prose_answer("answer" + flood * (2**20 // len(flood)))
    assert time.process_time() - started < 5, "only the end of the text is read: it takes a tenth of a second"
