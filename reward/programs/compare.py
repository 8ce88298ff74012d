"""Whether the output of a program equals the expected one, as text or as data."""

import math
from collections import deque
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

WRITTEN = (Decimal, Fraction, complex, date, time, timedelta, UUID)  # that JSON can only give as text


def same_text(printed: str, expected: str, tolerance: float) -> bool:
    """Equal except for white space at the ends of lines and of the text; numbers may differ by the tolerance, word by word."""
    left, right = lines(printed), lines(expected)
    if left == right:
        return True
    if not tolerance or len(left) != len(right):
        return False
    pairs = [(a.split(), b.split()) for a, b in zip(left, right, strict=True)]
    return all(len(a) == len(b) and all(same_word(*words, tolerance) for words in zip(a, b, strict=True)) for a, b in pairs)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def same_word(printed: str, expected: str, tolerance: float) -> bool:
    """Equal, or both numbers and near."""
    if printed == expected:
        return True
    try:
        return near(float(printed), float(expected), tolerance)
    except ValueError:
        return False


def near(number: float, expected: float, tolerance: float) -> bool:
    """Both finite, or the same: two numbers too large for a float are not near for that."""
    return math.isfinite(number) and math.isclose(number, expected, rel_tol=tolerance, abs_tol=tolerance)


def same_value(value: Any, expected: Any, tolerance: float) -> bool:
    """Equal as data: a tuple, deque or range equals a list, keys compare as text, True is not 1, a date equals its text."""
    if isinstance(value, list | tuple | deque | range) and isinstance(expected, list):
        return len(value) == len(expected) and all(same_value(a, b, tolerance) for a, b in zip(value, expected, strict=True))
    if isinstance(value, dict) and isinstance(expected, dict):
        keyed = {str(key): item for key, item in value.items()}
        return keyed.keys() == expected.keys() and all(same_value(keyed[key], expected[key], tolerance) for key in keyed)
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, int | float) and isinstance(expected, int | float):
        return value == expected or (bool(tolerance) and near(value, expected, tolerance))
    return same_other(value, expected, tolerance)


def same_other(value: Any, expected: Any, tolerance: float) -> bool:
    """Equal as data of types that JSON lacks, which it gives as a number or as text."""
    if isinstance(value, Decimal | Fraction) and isinstance(expected, int | float):
        return bool(value == expected) or same_value(float(value), expected, tolerance)
    if isinstance(value, WRITTEN) and isinstance(expected, str):
        return expected == str(value) or (isinstance(value, datetime | time) and expected == value.isoformat())
    return type(value) is type(expected) and bool(value == expected)


def same_result(value: Any, expected: Any, wrapped: bool, tolerance: float) -> bool:
    """`same_value`; with `wrapped` also equal to the one item of `expected`, as some data sets put every result into a list."""
    return same_value(value, expected, tolerance) or (wrapped and same_value(value, expected[0], tolerance))
