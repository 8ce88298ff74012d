"""The checker for mathematical answers: what the response ends on must equal the reference, however it is written.

`math_verify` reads and compares. Its own time limits are off: they use signals, which work only on a main thread, and
`reward.pool` kills what takes too long. It is imported at the first call, because sympy takes a second.
"""

import re
from decimal import Decimal
from typing import Any

from reward.exact import reference_text

GSM8K_MARK = "####"
ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
# "42", "$1,234.50", "50%", "18 dollars": a number in prose, which LaTeX would read as a product of letters
PROSE_NUMBER = re.compile(r"[-+]?\$?-?\d[\d,]*(\.\d+)?\s*%?(\s+[A-Za-z]{2,}.*)?")
# typographic minus and spaces, which no parser takes for their ASCII kin
TYPOGRAPHY = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " "})


def check_math(response: str, reference: object) -> float:
    """1.0 when the response's final answer equals the reference as mathematics, else 0.0.

    The final answer is the last \\boxed{}, else what follows the last "####", else the last <answer> tag, else what
    math_verify finds last. A response in which nothing can be read is wrong; a reference that cannot be read is a ValueError.
    """
    from math_verify import verify  # type: ignore[import-untyped, unused-ignore]

    gold = read_reference(reference)
    return float(verify(gold, read_response(response), timeout_seconds=None, raise_on_error=True))


def read_reference(reference: object) -> list[Any]:
    """The reference as math_verify's expressions; ValueError when it is no mathematics."""
    text = reference_text(reference)
    if isinstance(reference, float):
        text = format(Decimal(text), "f")  # "1e+20" would be read as 1
    if GSM8K_MARK in text:
        text = text.rpartition(GSM8K_MARK)[2]
    found = _read_answer(text)
    if not found:
        raise ValueError(f"reference {text[:200]!r} cannot be read as mathematics: use the checker 'exact' or correct the row")
    return found


def read_response(response: str) -> list[Any]:
    """The response's final answer as math_verify's expressions; empty when there is none that can be read."""
    try:
        if "\\boxed" in response:
            return _parse(response)
        if GSM8K_MARK in response:
            return _read_answer(response.rpartition(GSM8K_MARK)[2])
        if tags := ANSWER_TAG.findall(response):
            return _read_answer(tags[-1])
        return _parse(response)
    except MemoryError:
        raise
    except Exception:  # sympy raises whatever its input provokes; an answer nobody can read is a wrong answer
        return []


def _read_answer(text: str) -> list[Any]:
    """Read a text that is an answer and nothing else, so that bare LaTeX is taken for LaTeX."""
    text = text.strip()
    if "\\boxed" in text or text.count("$") > 1 or PROSE_NUMBER.fullmatch(text):
        return _parse(text)
    return (_parse(f"${text}$") or _parse(text)) if text else []


def _parse(text: str) -> list[Any]:
    from math_verify import parse

    found: list[Any] = parse(text.translate(TYPOGRAPHY), parsing_timeout=None, raise_on_error=True)
    return found
