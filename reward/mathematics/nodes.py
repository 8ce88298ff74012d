"""The tree of a mathematical answer: numbers, symbols and calls of functions, and the structures that answers have."""

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Union


@dataclass(frozen=True, slots=True)
class Number:
    """A number in digits; `places` counts the digits after its decimal point, and is None for a whole number."""

    value: Fraction
    places: int | None = None


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, with its index, primes and accents as part of the name: "x", "x_1", "y''"."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """One of "pi", "e", "i", "infinity"."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operation of arithmetic ("+", "*", "/", "^", "-" with one operand, "plusminus" with one operand) or a function by its name."""

    name: str
    args: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Percent:
    """A number followed by a percent sign."""

    value: "Node"


@dataclass(frozen=True, slots=True)
class Bracketed:
    """A tuple, point or interval with its brackets, "(1, 2]"."""

    opening: str
    items: tuple["Node", ...]
    closing: str


@dataclass(frozen=True, slots=True)
class FiniteSet:
    """A set by its elements; the empty set has none."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class NumberSet:
    """One of the sets "N", "Z", "Q", "R", "C", with "+" or "-" or "*" after it where only those numbers belong to it."""

    name: str


@dataclass(frozen=True, slots=True)
class Builder:
    """The set of all `body` for which the conditions hold: "{x | x > 1}"."""

    body: "Node"
    conditions: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Family:
    """An expression with conditions on its symbols: "k pi, k in Z"."""

    body: "Node"
    conditions: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class SetOperation:
    """One of "union", "intersection", "difference" of sets."""

    name: str
    args: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Several values in no order, joined by "," or "and" or "or"."""

    items: tuple["Node", ...]
    joint: str = ","


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain such as "1 < x <= 2"; an operator is one of = ~ < > <= >= != in; there is one operand more than operators."""

    operands: tuple["Node", ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Congruence:
    """A remainder with its modulus, and what has it: "x = 3 (mod 7)"; `left` is None where only the remainder is given."""

    left: Union["Node", None]
    right: "Node"
    modulus: "Node"


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix by its rows; a vector is a matrix of one column."""

    rows: tuple[tuple["Node", ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two or more terms with colons between them: "1:2:3"."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day: `half` is "am", "pm" or "" where it is not said."""

    hour: int
    minute: int
    second: int
    half: str


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a base other than ten: "204_5"."""

    digits: str
    base: int


Node = (
    Number | Symbol | Constant | Call | Percent | Bracketed | FiniteSet | NumberSet | Builder | Family | SetOperation | Listing
    | Relation | Congruence | Matrix | Ratio | Clock | Based
)  # fmt: skip


def children(node: Node) -> list[Node]:
    """The nodes directly below a node, from left to right."""
    found: list[Node] = []
    for field in fields(node):
        value = getattr(node, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            found += [item for item in (one if isinstance(one, tuple) else (one,)) if isinstance(item, Node)]
    return found


def symbols(node: Node) -> frozenset[str]:
    """The names of all variables in a tree."""
    if isinstance(node, Symbol):
        return frozenset({node.name})
    return frozenset().union(*(symbols(child) for child in children(node)))


def is_bound(node: Node) -> bool:
    """Whether a tree limits a variable, as "x > 0" does, instead of giving a value."""
    return isinstance(node, Relation) and not {"=", "~"} & set(node.operators)
