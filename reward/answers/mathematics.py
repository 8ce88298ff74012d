"""The checker for mathematical answers: the final answer must equal the reference, however it is written.

`reward.answers.answer` and `reward.answers.prose` find the final answer, `reward.mathematics` reads and compares. Both texts are read whole
or not at all: a reference that is not understood is compared as text, and a response that is not understood is wrong.
"""

import re
from decimal import Decimal
from functools import lru_cache

from reward.answers.answer import marked_answer, marked_answers, spoken
from reward.answers.exact import reference_text
from reward.answers.math_words import reference_words, says
from reward.answers.prose import TAIL, prose_answer
from reward.mathematics.nodes import Listing, Node, Number, NumberSet
from reward.mathematics.read import read_answer, why_not, with_decimal_comma
from reward.mathematics.typography import clean

LONGEST_ANSWER = 2_000  # characters of a marked answer; longer ones are wrong, unless the reference is at least half as long
INTEGER = re.compile(r"([-+]?)0*(\d+)")
READABLE = re.compile(r"[^\W_]|\\[a-zA-Z]|\\\{\s*\\\}")
IDLE_SPACE = re.compile(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")  # "4 2" is not 42


def check_math(response: str, reference: object) -> float:
    """1.0 when the response's final answer equals the reference as mathematics, else 0.0.

    The final answer is the marked one (`reward.answers.answer`), else the one that `reward.answers.prose` finds in the last 4,000
    characters. Raises ValueError for a reference that holds no answer, and MemoryError and RecursionError where memory or stack run out.
    """
    gold, answers = reference_answer(reference), marked_answers(response)
    marked, said = answers is not None, None if answers is None else ", ".join(answers)
    if said is not None and len(said) > max(LONGEST_ANSWER, 2 * len(gold)):
        return 0.0
    if words := reference_words(gold):
        right = says(spoken(response)[-TAIL:] if said is None else said, words, marked=marked)
        return float(right or (said is not None and isinstance(read_answer(gold), NumberSet) and same_text_or_value(gold, said)))
    if said is None:
        said = prose_answer(spoken(response))
    if said is None:
        return 0.0
    each = answers is not None and len(answers) > 1 and all(same_text_or_value(gold, answer) for answer in answers)
    return float(each or same_text_or_value(gold, said))


def reference_answer(reference: object) -> str:
    """The reference's answer as text; ValueError when it holds none."""
    text = reference_text(reference)
    if isinstance(reference, float):
        text = format(Decimal(text), "f")  # "1e+20" would be read as a product
    return _answer_in(text)


@lru_cache(maxsize=4096)
def _answer_in(text: str) -> str:
    answer = marked_answer(text)
    answer = spoken(text).strip() if answer is None else answer
    if not READABLE.search(answer) or marked_answer(boxed(answer)) != answer:  # its braces do not match, or it marks a further answer
        raise ValueError(f"reference {text[:200]!r} cannot be read as mathematics: use the checker 'match' or correct the row")
    return answer


def not_understood(reference: object) -> str | None:
    """What in a reference is not understood, so that only the same text equals it; None where all of it is, or it is words."""
    gold = reference_answer(reference)
    return None if reference_words(gold) else why_not(gold)


def gold_math(reference: object) -> str:
    """A response that is right."""
    return boxed(reference_answer(reference))


def boxed(answer: str) -> str:
    """An answer, marked as such."""
    return rf"\boxed{{{answer}}}"


def same_text_or_value(gold: str, said: str) -> bool:
    """Whether two answers are the same text but for spacing and signs, or the same mathematics."""
    if said == gold:
        return True
    answer, expected = _signs(said), _signs(gold)
    if answer == expected or _digits(answer, "answer") == _digits(expected, "gold"):
        return True
    if INTEGER.fullmatch(answer) and INTEGER.fullmatch(expected):
        return False  # equal whole numbers have equal digits, which were compared before
    meant = read_answer(gold)
    found = None if meant is None else read_answer(said)
    if meant is None or found is None:
        return False
    return _same_meaning(meant, found) or _same_listed(gold, said) or _same_with_decimal_comma(gold, said)


def _same_meaning(meant: Node | None, found: Node | None) -> bool:
    """Whether both are understood and mean the same. Imported here: the driver reads references, and needs no mpmath for that."""
    from reward.mathematics.compare import same_answer

    return meant is not None and found is not None and same_answer(meant, found)


def _same_listed(gold: str, said: str) -> bool:
    """Whether both are the same list, where "60,120" in one of them is two numbers."""
    pairs = [(read_answer(gold, listed=gold_listed), read_answer(said, listed=not gold_listed)) for gold_listed in (False, True)]
    return any(isinstance(a, Listing) and isinstance(b, Listing) and _same_meaning(a, b) for a, b in pairs)


def _same_with_decimal_comma(gold: str, said: str) -> bool:
    """Whether one of them is a decimal and the other the same decimal with a comma for its point."""
    first, second = with_decimal_comma(gold), with_decimal_comma(said)
    if (first is None) == (second is None):
        return False
    meant, found = first or read_answer(gold), second or read_answer(said)
    number = found if first else meant
    return isinstance(number, Number) and bool(number.places) and _same_meaning(meant, found)


@lru_cache(maxsize=4096)
def _signs(text: str) -> str:
    """The text in plain signs, without the white space that separates nothing."""
    return IDLE_SPACE.sub("", clean(text))


def _digits(text: str, otherwise: str) -> str:
    """The digits of a whole number, without leading zeros; `otherwise` for every other text."""
    number = INTEGER.fullmatch(text)
    return otherwise if number is None else ("-" if number[1] == "-" and number[2] != "0" else "") + number[2]
