"""Sets of real numbers as intervals, from brackets, inequalities, set builders and their unions."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mpmath import mp, mpf

from reward.mathematics.evaluate import NoValueError, evaluate, real_or_complex
from reward.mathematics.nodes import Bracketed, Builder, Call, FiniteSet, Listing, Node, NumberSet, Relation, SetOperation, Symbol, symbols
from reward.mathematics.rebuild import rebuilt

MOST_INTEGERS = 1_000
SAME = mpf(10) ** -18
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Span:
    """An interval; `low` and `high` may be infinite, and are equal for a point."""

    low: Any
    low_closed: bool
    high: Any
    high_closed: bool


RealSet = tuple[Span, ...]  # in order, without overlaps
EVERYTHING: RealSet = (Span(mp.ninf, False, mp.inf, False),)


def same_set(left: RealSet, right: RealSet) -> bool:
    """Whether two sets have the same intervals with the same ends."""
    return len(left) == len(right) and all(
        near(a.low, b.low) and near(a.high, b.high) and (a.low_closed, a.high_closed) == (b.low_closed, b.high_closed)
        for a, b in zip(left, right, strict=True)
    )


def real_set(node: Node) -> RealSet | None:
    """The real numbers that a tree stands for; None where it stands for no set of intervals."""
    found: RealSet | None = None
    match node:
        case NumberSet(name):
            found = {"R": EVERYTHING, "R+": span(0, False, mp.inf, False), "R-": span(mp.ninf, False, 0, False)}.get(name)
        case FiniteSet(items):
            values = [value_of(item) for item in items]
            found = None if None in values else union(span(value, True, value, True) for value in values)
        case Bracketed(opening, (low, high), closing):
            ends = value_of(low), value_of(high)
            found = None if None in ends else span(ends[0], opening == "[", ends[1], closing == "]")
        case SetOperation(name, (left, right)):
            found = combined(name, real_set(left), real_set(right))
        case Relation() | Listing():
            node = rebuilt(node, lambda one: Symbol(str(one)) if isinstance(one, Call) and one.name.startswith("apply ") else None)
            names = symbols(node)
            found = solved(node, next(iter(names))) if len(names) == 1 else None
        case Builder(body, conditions):
            found = built_set(body, conditions)
    return found


def value_of(node: Node) -> Any:
    """The real value of a tree without variables; None where it has none."""
    if symbols(node):
        return None
    try:
        value = real_or_complex(evaluate(node, {}))
    except NoValueError:
        return None
    return mp.re(value) if mp.im(value) == 0 else None


def span(low: Any, low_closed: bool, high: Any, high_closed: bool) -> RealSet:
    """One interval; empty where its ends leave nothing between them."""
    low, high = mpf(low), mpf(high)
    if near(low, high):
        return (Span(low, True, low, True),) if low_closed and high_closed and mp.isfinite(low) else ()
    if low > high:
        return ()
    return (Span(low, low_closed and mp.isfinite(low), high, high_closed and mp.isfinite(high)),)


def near(a: Any, b: Any) -> bool:
    return bool(a == b or (mp.isfinite(a) and mp.isfinite(b) and abs(a - b) <= SAME * max(abs(a), abs(b))))


def union(sets: Iterable[RealSet]) -> RealSet:
    """All numbers that are in one of the sets."""
    found: list[Span] = []
    for one in sorted((one for each in sets for one in each), key=lambda one: (one.low, not one.low_closed)):
        last = found[-1] if found else None
        touches = last and (one.low < last.high or (near(one.low, last.high) and (one.low_closed or last.high_closed)))
        if last and touches:
            ends = near(one.high, last.high)
            higher = one if one.high > last.high and not ends else last
            closed = (one.high_closed or last.high_closed) if ends else higher.high_closed
            found[-1] = Span(last.low, last.low_closed, higher.high, closed)
        else:
            found.append(one)
    return tuple(found)


def complement(one: RealSet) -> RealSet:
    """All real numbers that are not in the set."""
    found: list[RealSet] = []
    low, closed = mp.ninf, False
    for each in one:
        found.append(span(low, closed, each.low, not each.low_closed))
        low, closed = each.high, not each.high_closed
    return union([*found, span(low, closed, mp.inf, False)] if low != mp.inf else found)


def intersection(left: RealSet, right: RealSet) -> RealSet:
    return complement(union([complement(left), complement(right)]))


def combined(name: str, left: RealSet | None, right: RealSet | None) -> RealSet | None:
    if left is None or right is None:
        return None
    if name == "union":
        return union([left, right])
    return intersection(left, right if name == "intersection" else complement(right))


def solved(node: Node, name: str) -> RealSet | None:
    """The values of a variable for which relations hold; None where this cannot be said."""
    if isinstance(node, Listing):
        sets = [solved(item, name) if isinstance(item, Relation) else None for item in node.items]
        known = [one for one in sets if one is not None]
        if len(known) < len(sets):
            return None
        equations = all(isinstance(item, Relation) and item.operators == ("=",) for item in node.items)
        if node.joint == "or" or equations:
            return union(known)
        both = EVERYTHING
        for one in known:
            both = intersection(both, one)
        return both or union(known)  # "x < 1, x > 2" means either
    if not isinstance(node, Relation):
        return None
    found = EVERYTHING
    for left, operator, right in zip(node.operands, node.operators, node.operands[1:], strict=False):
        part = solution(left, operator, right, name)
        if part is None:
            return None
        found = intersection(found, part)
    return found


def solution(left: Node, operator: str, right: Node, name: str) -> RealSet | None:
    """The values of the variable for which one relation holds, where it is linear or quadratic."""
    if operator == "in":
        return real_set(right) if left == Symbol(name) else None
    for one, sign, other in ((left, operator, right), (right, MIRRORED.get(operator, operator), left)):
        if (limits := absolute_bound(one, sign, other, name)) is not None:
            return limits
    found = roots(Call("+", (left, Call("-", (right,)))), name)
    if found is None or operator == "~":
        return None
    zeros, rising, linear = found
    at = union(span(zero, True, zero, True) for zero in zeros)
    below = negative_part(zeros, rising, linear)
    return {
        "=": at,
        "!=": complement(at),
        "<": below,
        "<=": union([below, at]),
        ">": complement(union([below, at])),
        ">=": complement(below),
    }[operator]


def absolute_bound(left: Node, operator: str, right: Node, name: str) -> RealSet | None:
    """The set of |f| < c and its like."""
    if not (isinstance(left, Call) and left.name == "abs" and not symbols(right)):
        return None
    above = solution(left.args[0], operator, right, name)
    under = solution(left.args[0], MIRRORED.get(operator, operator), Call("-", (right,)), name)
    if above is None or under is None:
        return None
    return intersection(above, under) if operator in ("<", "<=", "!=") else union([above, under])


def roots(node: Node, name: str) -> tuple[list[Any], bool, bool] | None:
    """The zeros of a polynomial of degree one or two in order, whether it is positive far to the right, and whether it is linear."""
    try:
        f = [real_or_complex(evaluate(node, {name: Fraction(x)})) for x in (0, 1, 2, -1, 5)]
    except NoValueError:
        return None
    if any(mp.im(value) != 0 or not mp.isfinite(value) for value in f):
        return None
    c, a = f[0], (f[1] + f[3]) / 2 - f[0]
    b = f[1] - a - c
    if not near(f[2], 4 * a + 2 * b + c) or not near(f[4], 25 * a + 5 * b + c):
        return None
    size = max(abs(a), abs(b), abs(c))
    if abs(a) <= SAME * size:
        return None if abs(b) <= SAME * size else ([-c / b], bool(b > 0), True)
    square = b * b - 4 * a * c
    if square < -SAME * size * size:
        return [], bool(a > 0), False
    root = mp.sqrt(max(square, mpf(0)))
    return sorted({(-b - root) / (2 * a), (-b + root) / (2 * a)}), bool(a > 0), False


def negative_part(zeros: list[Any], rising: bool, linear: bool) -> RealSet:
    """Where a polynomial with these zeros is below 0."""
    if not zeros:
        return () if rising else EVERYTHING
    if linear:
        return span(mp.ninf, False, zeros[0], False) if rising else span(zeros[0], False, mp.inf, False)
    between = span(zeros[0], False, zeros[-1], False)
    return between if rising else complement(union([between, *(span(zero, True, zero, True) for zero in zeros)]))


def built_set(body: Node, conditions: tuple[Node, ...]) -> RealSet | None:
    """The set of a builder over one real or whole variable."""
    if not isinstance(body, Symbol) or symbols(Builder(body, conditions)) != {body.name}:
        return None
    found, whole = EVERYTHING, False
    for condition in conditions:
        if isinstance(condition, Relation) and condition.operators == ("in",) and isinstance(domain := condition.operands[1], NumberSet):
            whole = whole or domain.name[0] in "NZ"
            part = {
                "Z": EVERYTHING,
                "N": span(0, True, mp.inf, False),
                "Z+": span(1, True, mp.inf, False),
                "N*": span(1, True, mp.inf, False),
            }.get(domain.name, real_set(domain))
        else:
            part = solved(condition, body.name)
        if part is None:
            return None
        found = intersection(found, part)
    return integers_of(found) if whole else found


def integers_of(one: RealSet) -> RealSet | None:
    """The whole numbers in a set; None where there are too many."""
    if not one:
        return ()
    low, high = one[0].low, one[-1].high
    if not mp.isfinite(low) or not mp.isfinite(high) or high - low > MOST_INTEGERS:
        return None
    candidates = (span(n, True, n, True) for n in range(int(mp.floor(low)), int(mp.ceil(high)) + 1))
    return union(point for point in candidates if intersection(point, one))
