"""Reads the text of an answer into a tree, whole or not at all."""

import re
from functools import lru_cache

from reward.mathematics.names import BASES
from reward.mathematics.nodes import Based, Clock, Node, NumberSet
from reward.mathematics.structure import read_tokens
from reward.mathematics.tokens import tokens_of
from reward.mathematics.typography import clean
from reward.mathematics.unreadable import UnreadableError

BASED = re.compile(r"\(?([0-9A-Fa-f]+)\)?\s*_\s*\{?\s*(?:\\(?:text|mathrm|textrm)\s*\{)?\s*(?:\(?\s*base\s*)?(\d{1,2}|[a-z]+)\s*\)?\s*\}*")
BASED_IN_WORDS = re.compile(r"([0-9A-Fa-f]+)\s*(?:\\(?:text|mathrm)\s*\{)?\s*\(?\s*(?:in\s+)?base[\s-]+(\d{1,2}|[a-z]+)\s*\)?\s*\}?")
CLOCK = re.compile(
    r"(?:at\s+)?(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*\\?\s*(?:\\(?:text|mathrm|textrm|mbox)\s*\{)?\s*(?:([ap])\.?\s?m\.?|(noon|midnight)|(o'?clock|hours|hrs|h)?)\s*\}?",
    re.IGNORECASE,
)
LAST_HOUR, LAST_MINUTE = 24, 59
HALF_DAY = range(1, 13)
BASES_WITH_DIGITS = range(2, 37)  # digits and letters
ALL_REALS = re.compile(r"(?:(?:the\s+set\s+of\s+)?(?:all|any|every)\s+)?(?:the\s+)?reals?(?:\s+(?:numbers?|values?))?", re.IGNORECASE)
WHOLE_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\s*\{([^{}]*\d[^{}]*|[^{}]*\breals?\b[^{}]*)\}")
DECIMAL_COMMA = re.compile(r"([-+]?\d+),(\d+)")


@lru_cache(maxsize=4096)
def read_answer(text: str, *, listed: bool = False) -> Node | None:
    """The tree of an answer; None where a part of it is not understood. With `listed`, "60,120" is two numbers."""
    try:
        return read(text, listed=listed)
    except UnreadableError:
        return None


def why_not(text: str) -> str | None:
    """What in a text is not understood; None where all of it is."""
    try:
        read(text)
    except UnreadableError as error:
        return str(error)
    return None


def read(text: str, *, listed: bool = False) -> Node:
    """The tree of an answer; UnreadableError where a part of it is not understood."""
    plain = clean(text)
    if not plain:
        raise UnreadableError("no number, symbol or formula")
    if whole := WHOLE_TEXT.fullmatch(plain):
        plain = whole[1].strip()
    if ALL_REALS.fullmatch(plain):
        return NumberSet("R")
    if (special := clock(plain) or based(plain)) is not None:
        return special
    return read_tokens(tokens_of(plain, listed=listed or any(bracket in plain for bracket in "([")))


def clock(plain: str) -> Clock | None:
    """A time of day such as "3:15", "3:15 p.m." or "6 a.m."; None for everything else, a plain number among it."""
    found = CLOCK.fullmatch(plain)
    if found is None or not (found[2] or found[4] or found[5] or "clock" in (found[6] or "").lower()):
        return None
    hour, minute, second = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    named = (found[5] or "").lower()
    half = {"noon": "pm", "midnight": "am"}.get(named) or (found[4].lower() + "m" if found[4] else "")
    if hour > LAST_HOUR or max(minute, second) > LAST_MINUTE or (half and not named and hour not in HALF_DAY):
        return None
    return Clock(hour, minute, second, half)


def based(plain: str) -> Based | None:
    """Digits in a named base such as "204_5"; None for everything else."""
    found = BASED.fullmatch(plain) or BASED_IN_WORDS.fullmatch(plain)
    if found is None:
        return None
    base = int(found[2]) if found[2].isdigit() else BASES.get(found[2], 0)
    digits = found[1].upper()
    if base not in BASES_WITH_DIGITS or any(int(digit, 36) >= base for digit in digits):
        return None
    return Based(digits.lstrip("0") or "0", base)


def with_decimal_comma(text: str) -> Node | None:
    """The number of a text such as "2,74", read as a decimal; None for every other text."""
    found = DECIMAL_COMMA.fullmatch(clean(text))
    return read_answer(f"{found[1]}.{found[2]}") if found else None
