"""Wrong answers that look like a right one: each differs from it by value, which is proven without the checker."""

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

from reward.mathematics.nodes import (
    Based,
    Bracketed,
    Builder,
    Call,
    Clock,
    Congruence,
    Constant,
    Family,
    FiniteSet,
    Listing,
    Matrix,
    Node,
    Number,
    Percent,
    Ratio,
    Relation,
    SetOperation,
    Symbol,
    children,
    symbols,
)  # fmt: skip
from reward.trials.value import apart, value

Arithmetic = Number | Symbol | Constant | Call
PAIR = 2
CHANGED = 4  # numbers of an answer that are changed, one at a time
NUMBER = re.compile(r"(?<![\w.,])\d+(?:\.\d+)?(?![\w.,]*\d)")
STRICT = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def numbers_in(text: str) -> list[str]:
    """The numbers in a text that is more than a number: none of them alone is what the text says."""
    return list(dict.fromkeys(number for number in NUMBER.findall(text) if number != text.strip()))[:CHANGED]


def misses(node: Node) -> Iterator[Node]:
    """Trees that are not equal to this one."""
    match node:
        case Number() | Symbol() | Constant() | Call() | Percent():
            yield from _of_value(node)
        case Listing() | FiniteSet():
            yield from _of_items(node)
        case Bracketed():
            yield from _of_brackets(node)
        case Relation():
            yield from _of_relation(node)
        case Matrix() | Ratio():
            yield from _elsewhere(node)
        case Builder() | Family() | SetOperation():
            yield from _numbers_alone(node)
        case _:
            yield from _of_other_numbers(node)


def _numbers_alone(node: Builder | Family | SetOperation) -> Iterator[Node]:
    """Numbers in a set or family of many values, which none of them is."""
    within = list(_all_below(node))
    one_value = isinstance(node, Family) and not symbols(node.body)
    if one_value or any(isinstance(one, Relation) and "=" in one.operators for one in within):
        return
    yield from (one for one in within if isinstance(one, Number))


def _all_below(node: Node) -> Iterator[Node]:
    for child in children(node):
        yield child
        yield from _all_below(child)


def _of_other_numbers(node: Node) -> Iterator[Node]:
    """Another remainder, minute or half of the day, base or last digit."""
    match node:
        case Congruence(_, Number() as right, Number() as modulus) if modulus.value > 1:
            yield replace(node, right=Number(right.value + 1))
        case Clock():
            yield replace(node, minute=(node.minute + 1) % 60)
            if node.half:
                yield replace(node, half="pm" if node.half == "am" else "am")
        case Based() if node.digits.lstrip("0")[1:] and node.digits.isdecimal():
            yield replace(node, base=node.base + 1)
            yield replace(node, digits=node.digits[:-1] + ("0" if node.digits[-1] != "0" else "1"))


def _of_value(node: Node) -> Iterator[Node]:
    """Zero, the opposite, the double, one number or exponent changed, a part alone; of two values with ± one alone."""
    candidates = [Number(Fraction(0)), Call("-", (node,)), Call("*", (Number(Fraction(2)), node)), *_numbers_changed(node)]
    if isinstance(node, Call):
        candidates += children(node)
    yield from (one for one in candidates if apart(node, one))
    if isinstance(node, Call) and node.name == "+" and sum(_is_plusminus(one) for one in node.args) == 1:
        yield replace(node, args=tuple(one.args[0] if isinstance(one, Call) and _is_plusminus(one) else one for one in node.args))


def _is_plusminus(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "plusminus"


def _of_items(node: Listing | FiniteSet) -> Iterator[Node]:
    """An element left out, added or changed."""
    items = node.items
    if len(items) < PAIR or not all(value(item) is not None for item in items):
        return
    if not all(apart(items[i], items[j]) for i in range(len(items)) for j in range(i)):
        return
    yield items[0] if len(items) == PAIR else replace(node, items=items[:-1])
    largest = max(abs(complex(found)) for item in items if (found := value(item)) is not None)
    yield replace(node, items=(*items, Number(Fraction(int(largest) + 7))))
    for changed in _of_value(items[0]):
        if all(apart(changed, item) for item in items):
            yield replace(node, items=(changed, *items[1:]))


def _of_brackets(node: Bracketed) -> Iterator[Node]:
    """A coordinate changed or alone, two exchanged, an end opened or closed."""
    items, turned = node.items, {"(": "[", "[": "(", ")": "]", "]": ")"}
    yield from _elsewhere(node)
    if len(items) == PAIR and apart(*items):
        yield replace(node, items=items[::-1])
    if len(items) < PAIR:
        return
    yield from (item for item in items if value(item) is not None)
    if len(items) == PAIR and node.opening in "([" and node.closing in ")]" and _ascending(*items):
        if value(items[0]) is not None:
            yield replace(node, opening=turned[node.opening])
        if value(items[1]) is not None:
            yield replace(node, closing=turned[node.closing])


def _ascending(low: Node, high: Node) -> bool:
    """Whether two plain values, of which one may be infinite, are the ends of an interval that is not empty."""
    if symbols(low) or symbols(high):
        return False
    below, above = value(low), value(high)
    if below is None or above is None:
        infinite = Constant("infinity")
        return (low == Call("-", (infinite,)) and above is not None) or (high == infinite and below is not None)
    return complex(below).imag == complex(above).imag == 0 and complex(below).real < complex(above).real


def _of_relation(node: Relation) -> Iterator[Node]:
    """For a variable and its value or bound: another value, the sign opened, closed or turned; for a chain an end opened or closed."""
    operands, operators = node.operands, node.operators
    if len(operators) == 1 and isinstance(operands[0], Symbol) and operands[0].name not in symbols(operands[1]):
        left, right, sign = operands[0], operands[1], operators[0]
        if isinstance(right, Arithmetic) and sign in {"=", *STRICT}:
            yield from (Relation((left, changed), operators) for changed in _of_value(right))
        if sign in STRICT and not symbols(right):
            yield from (Relation(operands, (other,)) for other in (STRICT[sign], TURNED[sign]))
            yield right
    if (
        len(operators) == PAIR
        and set(operators) <= {"<", "<="}
        and isinstance(operands[1], Symbol)
        and _ascending(operands[0], operands[2])
    ):
        yield Relation(operands, (STRICT[operators[0]], operators[1]))
        yield Relation(operands, (operators[0], STRICT[operators[1]]))


def _elsewhere(node: Node) -> Iterator[Node]:
    """One entry, which is an expression, with another value."""
    for index, (entry, rebuilt) in enumerate(_with_other_entries(node)):
        if index == CHANGED:
            return
        if not apart(entry, rebuilt[0]):
            continue
        yield rebuilt[1]


def _with_other_entries(node: Node) -> Iterator[tuple[Node, tuple[Node, Node]]]:
    """Each entry with the one in its place, and the whole with that."""
    if isinstance(node, Bracketed | Ratio):
        for i, item in enumerate(node.items):
            if isinstance(node, Ratio) and not all(isinstance(one, Number) and one.value for one in node.items):
                return
            for other in _numbers_changed(item):
                yield item, (other, replace(node, items=(*node.items[:i], other, *node.items[i + 1 :])))
    elif isinstance(node, Matrix):
        for r, row in enumerate(node.rows):
            for c, item in enumerate(row):
                for other in _numbers_changed(item):
                    changed = (*row[:c], other, *row[c + 1 :])
                    yield item, (other, replace(node, rows=(*node.rows[:r], changed, *node.rows[r + 1 :])))


def _numbers_changed(node: Node) -> list[Node]:
    """The tree with the last digit of one of its first numbers changed."""
    return [one for _, one in zip(range(CHANGED), _each_changed(node), strict=False)]


def _each_changed(node: Node) -> Iterator[Node]:
    if isinstance(node, Number):
        yield Number(node.value + Fraction(1, 10 ** (node.places or 0)), node.places)
        return
    branch: Any = node
    for field in fields(node):
        part = getattr(node, field.name)
        if isinstance(part, Node):
            yield from (replace(branch, **{field.name: changed}) for changed in _each_changed(part))
        elif isinstance(part, tuple):
            for i, item in enumerate(part):
                if isinstance(item, Node):
                    yield from (replace(branch, **{field.name: (*part[:i], changed, *part[i + 1 :])}) for changed in _each_changed(item))
