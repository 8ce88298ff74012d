"""The value of an expression at chosen values of its variables, to prove that two expressions differ.

It shares no code with the comparison of answers, so that a mistake there cannot hide here.
"""

import cmath
import math
import zlib
from collections.abc import Callable
from fractions import Fraction

from reward.mathematics.nodes import Call, Constant, Node, Number, Percent, Symbol, children

Value = Fraction | complex
POINTS = 3
GAP = 1e-3  # rounded values that differ by less, for their size, may count as equal
MAX_POWER, MAX_FACTORIAL, MAX_BITS = 200, 100, 4_000
CONSTANTS = {"pi": complex(math.pi), "e": complex(math.e), "i": 1j}
FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan,
    "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh, "exp": cmath.exp, "ln": cmath.log, "log": cmath.log, "sqrt": cmath.sqrt,
}  # fmt: skip


def value(node: Node, point: int = 0) -> Value | None:
    """The value with the variables' values of that point; exact where it is rational, None where it cannot be determined."""
    try:
        found = _value(node, point)
    except (ArithmeticError, ValueError):
        return None
    return found if isinstance(found, Fraction | None) or cmath.isfinite(found) else None


def apart(first: Node, second: Node) -> bool:
    """Whether two expressions surely have different values, somewhere; False where that is not known."""
    rounded = any(_has_decimals(node) for node in (first, second))
    for point in range(POINTS):
        one, other = value(first, point), value(second, point)
        if one is None or other is None:
            return False
        if isinstance(one, Fraction) and isinstance(other, Fraction) and not rounded:
            if one != other:
                return True
        elif abs(complex(one) - complex(other)) > GAP * max(abs(complex(one)), abs(complex(other))):
            return True
    return False


def _has_decimals(node: Node) -> bool:
    return (isinstance(node, Number) and node.places is not None) or any(_has_decimals(child) for child in children(node))


def _value(node: Node, point: int) -> Value | None:
    match node:
        case Number():
            return node.value
        case Symbol():
            return Fraction(zlib.crc32(f"{point} {node.name}".encode()) % 997 + 3, 101)
        case Constant():
            return CONSTANTS.get(node.name)
        case Percent():
            found = _value(node.value, point)
            return None if found is None else found / 100
        case Call():
            args = [_value(argument, point) for argument in node.args]
            known = [argument for argument in args if argument is not None]
            return _call(node.name, known) if len(known) == len(args) else None
    return None


def _call(name: str, args: list[Value]) -> Value | None:
    if name in FUNCTIONS and len(args) == 1:
        return FUNCTIONS[name](complex(args[0]))
    return OPERATIONS[name](*args) if name in OPERATIONS and (name in ("+", "*") or len(args) == ARGUMENTS.get(name, 1)) else None


def _power(base: Value, exponent: Value) -> Value | None:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        return base ** int(exponent) if abs(exponent) <= MAX_POWER and size * abs(exponent) <= MAX_BITS else None
    return complex(base) ** complex(exponent)


def _absolute(number: Value) -> Value:
    return abs(number) if isinstance(number, Fraction) else complex(abs(number))


def _factorial(number: Value) -> Value | None:
    whole = isinstance(number, Fraction) and number.denominator == 1 and 0 <= number <= MAX_FACTORIAL
    return Fraction(math.factorial(int(number.real))) if whole else None


ARGUMENTS = {"/": 2, "^": 2, "root": 2}
OPERATIONS: dict[str, Callable[..., Value | None]] = {
    "+": lambda first, *others: sum(others, start=first),
    "*": lambda first, *others: math.prod(others, start=first),
    "-": lambda number: -number,
    "/": lambda top, bottom: top / bottom,
    "^": _power,
    "root": lambda number, degree: complex(number) ** (1 / complex(degree)),
    "abs": _absolute,
    "degree": lambda number: number,
    "factorial": _factorial,
}
