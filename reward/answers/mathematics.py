"""The checker for mathematical answers: the final answer must equal the reference, however it is written.

`reward.answers.answer` finds the marked answer, `math_verify` reads and compares. The time limits of math_verify are off: they use signals,
which work only on a main thread, and `reward.workers.pool` kills a checker that takes too long.

A response that cannot be read is wrong. An exception says nothing about the response: too little memory or stack, or an error while two
readable answers are compared. A reference that cannot be read is a ValueError.
"""

import re
from decimal import Decimal
from typing import Any

from reward.answers.answer import marked_answer, spoken
from reward.answers.exact import reference_text
from reward.answers.math_library import load
from reward.answers.math_text import tidy, tidy_prose
from reward.answers.math_words import reference_words, says

LONGEST_ANSWER = 2_000  # characters of a marked answer; longer ones are wrong, unless the reference is at least half as long
PROSE_TAIL = 4_000  # characters searched for an answer without a mark; math_verify's patterns take quadratic time
PROSE = re.compile(r"(?<![\\{A-Za-z])[A-Za-z]{2,}[,;:]?\s+(?!(?:and|or)\b)[A-Za-z]{2,}")
INTEGER = re.compile(r"([-+]?)0*(\d+)")
BASE = re.compile(r".*\d\s*_\s*\{?\s*(\d+)\s*\}?")
READABLE = re.compile(r"[^\W_]|\\[a-zA-Z]|\\\{\s*\\\}")
RELATIVE = 1e-4  # math_verify rounds to six decimals, so all tiny numbers would be equal


def check_math(response: str, reference: object) -> float:
    """1.0 when the response's final answer equals the reference as mathematics, else 0.0.

    The final answer is the marked one (`reward.answers.answer`), else what math_verify finds in the last 4,000 characters: a number or
    formula after the word "answer", else the last. Raises ValueError for a reference that cannot be read, and MemoryError, RecursionError
    and sympy's own errors where equality could not be decided.
    """
    gold, answer = reference_answer(reference), marked_answer(response)
    marked = answer is not None
    said = spoken(response)[-PROSE_TAIL:] if answer is None else answer
    if marked and len(said) > max(LONGEST_ANSWER, 2 * len(gold)):
        return 0.0
    if words := reference_words(gold):
        return float(says(said, words, marked=marked))
    return float(_same_text(tidy(said), tidy(gold)) or _equal(gold, said, marked=marked))


def reference_answer(reference: object) -> str:
    """The reference's answer as text; ValueError when it holds none. A reference that only sympy can refuse is refused when scoring."""
    text = reference_text(reference)
    if isinstance(reference, float):
        text = format(Decimal(text), "f")  # "1e+20" would be read as 1
    answer = marked_answer(text)
    answer = spoken(text).strip() if answer is None else answer
    if not READABLE.search(answer) or marked_answer(_boxed(answer)) != answer:  # its braces do not match, or it marks a further answer
        raise ValueError(f"reference {text[:200]!r} cannot be read as mathematics: use the checker 'match' or correct the row")
    return answer


def gold_math(reference: object) -> str:
    """A response that is right."""
    return _boxed(reference_answer(reference))


def _boxed(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


def _same_text(answer: str, gold: str) -> bool:
    """Whether the texts are equal. Whole numbers are compared by their digits, because no number type bears a million of them."""
    return answer == gold or _digits(answer, "answer") == _digits(gold, "gold")


def _digits(text: str, otherwise: str) -> str:
    number = INTEGER.fullmatch(text)
    return otherwise if number is None else ("-" if number[1] == "-" and number[2] != "0" else "") + number[2]


def _equal(gold: str, answer: str, *, marked: bool) -> bool:
    """Whether the answer equals the reference's as mathematics."""
    plain = tidy(answer)
    if INTEGER.fullmatch(plain) and INTEGER.fullmatch(tidy(gold)):
        return False  # equal whole numbers have equal digits, which were compared before
    bases = [base[1] for base in (BASE.fullmatch(plain), BASE.fullmatch(tidy(gold))) if base]
    if len(set(bases)) > 1:  # 12_8 and 12_7, whose subscripts math_verify ignores
        return False
    expected = _read(gold)
    if not expected:
        raise ValueError(f"reference {gold[:200]!r} cannot be read as mathematics: use the checker 'match' or correct the row")
    try:
        found = _read(answer) if marked else _read_prose(answer)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # sympy may raise anything; an answer that cannot be read is wrong
        return False
    _, verify = load()
    same = verify(expected, found, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
    return same and _close(expected[0], found[0])


def _close(expected: Any, found: Any) -> bool:
    """Whether two numbers differ by little for their size; True where one is not a plain number."""
    from sympy import Float, Rational

    numbers = all(isinstance(value, Float | Rational) and value.is_finite for value in (expected, found))
    return not numbers or bool(abs(expected - found) <= RELATIVE * max(abs(expected), abs(found)))


def _read(answer: str) -> list[Any]:
    """math_verify's expressions of a text that is only an answer, so that LaTeX without delimiters is read as LaTeX."""
    text = tidy(answer)
    if PROSE.search(text):
        return _read_prose(answer)
    parse, _ = load()
    return parse(f"${text}$", parsing_timeout=None, raise_on_error=True) if text else []


def _read_prose(text: str) -> list[Any]:
    """math_verify's expressions of the answer that it finds in a text."""
    parse, _ = load()
    return parse(tidy_prose(text), parsing_timeout=None, raise_on_error=True)
