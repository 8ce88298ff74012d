"""Whether two expressions have the same value, at many points where they have variables."""

import random
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from mpmath import mp, mpf

from reward.mathematics.evaluate import NoValueError, Value, evaluate, real_or_complex
from reward.mathematics.nodes import Call, Constant, Node, Number, Percent, children, symbols

DIGITS, MORE_DIGITS = 40, 120
ALMOST = mpf(10) ** -25  # a relative difference below this is asked again with more digits
ZERO = mpf(10) ** -80  # with more digits, an equal pair differs by less than this for its size
VANISHES = mpf(10) ** -40  # a value that shrinks so much with more digits is 0
SIX_PLACES = mpf("5e-7")
RELATIVE = mpf("1e-4")
KINDS = ("small", "small", "positive", "positive", "negative", "negative", "mixed", "mixed")
ENOUGH = 3  # points at which both have a value
HALF = 0.5


def same_value(gold: Node, answer: Node) -> bool:
    """Whether both have the same value; decimals agree to six places and, below 1, to six digits, or as the rounding of an exact value.

    With variables the values must agree at several real points, positive and negative, which are the same in every process.
    """
    names = tuple(sorted(symbols(gold) | symbols(answer)))
    decimal = has_decimals(gold), has_decimals(answer)
    if not names:
        with mp.workdps(DIGITS):
            return _same_at(gold, answer, {}, decimal)
    agreed = 0
    with mp.workdps(DIGITS):
        for point in points(names):
            try:
                if _same_at(gold, answer, point, decimal):
                    agreed += 1
                elif not imaginary(gold, answer, point):
                    return False
            except NoValueError:
                continue
    return agreed >= ENOUGH


def imaginary(gold: Node, answer: Node, point: dict[str, Value]) -> bool:
    """Whether both values are imaginary at a real point, outside of what real functions such as square roots are about."""
    return all(not has_unit(node) and mp.im(real_or_complex(evaluate(node, point))) != 0 for node in (gold, answer))


def has_unit(node: Node) -> bool:
    """Whether the imaginary unit stands in the tree."""
    return node == Constant("i") or any(has_unit(child) for child in children(node))


def points(names: tuple[str, ...]) -> Iterator[dict[str, Value]]:
    """Values for the variables: small, larger and negative numbers."""
    for turn in range(len(KINDS)):
        yield {name: _coordinate(name, turn) for name in names}


@lru_cache(maxsize=4096)
def _coordinate(name: str, turn: int) -> Value:
    source = random.Random(f"{name} {turn}")
    real = Fraction(source.randrange(3_000_001, 29_000_001), 10_000_019)
    kind = KINDS[turn]
    if kind == "small":
        return real / 3
    return -real if kind == "negative" or (kind == "mixed" and source.random() < HALF) else real


def _same_at(gold: Node, answer: Node, point: dict[str, Value], decimal: tuple[bool, bool]) -> bool:
    first, second = evaluate(gold, point), evaluate(answer, point)
    if isinstance(first, list) or isinstance(second, list):
        return _same_matrix(first, second, decimal, gold, answer)
    if isinstance(first, Fraction) and isinstance(second, Fraction) and (first == second or not any(decimal)):
        return first == second
    a, b = real_or_complex(first), real_or_complex(second)
    if any(decimal):
        return _close(a, b, decimal, gold, answer)
    if not mp.isfinite(a) or not mp.isfinite(b):
        return bool(a == b)
    size = max(abs(a), abs(b))
    return bool(abs(a - b) <= ALMOST * max(size, mpf(10) ** -5)) and _same_with_more_digits(gold, answer, point, size)


def _same_with_more_digits(gold: Node, answer: Node, point: dict[str, Value], size: Value) -> bool:
    """Whether the values agree in more digits too; a sum that cancels is tiny at any precision, and the tinier the more digits are used."""
    with mp.workdps(MORE_DIGITS):
        a, b = (real_or_complex(evaluate(one, point)) for one in (gold, answer))
        return bool(abs(a - b) <= ZERO * max(abs(a), abs(b)) or max(abs(a), abs(b)) <= VANISHES * size)


def _same_matrix(first: Value, second: Value, decimal: tuple[bool, bool], gold: Node, answer: Node) -> bool:
    if not (isinstance(first, list) and isinstance(second, list)) or [len(row) for row in first] != [len(row) for row in second]:
        return False
    pairs = [pair for rows in zip(first, second, strict=True) for pair in zip(*rows, strict=True)]
    for a, b in pairs:
        if a == b:
            continue
        x, y = real_or_complex(a), real_or_complex(b)
        if any(decimal) and _close(x, y, decimal, gold, answer):
            continue
        if any(decimal) or abs(x - y) > ALMOST * max(abs(x), abs(y), 1):
            return False
    return True


def _close(a: Value, b: Value, decimal: tuple[bool, bool], gold: Node, answer: Node) -> bool:
    """Whether two numbers, at least one of them a decimal, agree as far as decimals do."""
    if not mp.isfinite(a) or not mp.isfinite(b):
        return bool(a == b)
    difference, size = abs(a - b), max(abs(a), abs(b))
    if difference == 0 or a == 0 or b == 0:
        return bool(difference == 0)
    if all(decimal):
        return bool(difference <= SIX_PLACES * min(mpf(1), size))
    places = written_places(gold if decimal[0] else answer)
    if places is None:
        return bool(difference <= SIX_PLACES * min(mpf(1), size))
    half = mpf(10) ** -places * mpf("0.50001")
    return bool(difference <= half and difference <= SIX_PLACES and difference <= RELATIVE * size)


def has_decimals(node: Node) -> bool:
    """Whether a number in the tree is written with digits after its point."""
    return (isinstance(node, Number) and bool(node.places)) or any(has_decimals(child) for child in children(node))


def written_places(node: Node) -> int | None:
    """The digits after the point of a tree that is one decimal; None for every other tree."""
    if isinstance(node, Number):
        return node.places
    if isinstance(node, Call) and node.name == "-":
        return written_places(node.args[0])
    if isinstance(node, Percent) and (places := written_places(node.value)) is not None:
        return places + 2
    return None
