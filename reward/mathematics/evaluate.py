"""The value of a tree at a point: exact fractions as far as they go, else numbers of many digits."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from mpmath import mp, mpc, mpf
from mpmath.libmp import NoConvergence

from reward.mathematics.nodes import Call, Constant, Matrix, Node, Number, Percent, Ratio, Symbol
from reward.mathematics.unreadable import UnreadableError

Value = Any  # Fraction, mpf, mpc, or a list of rows of them
LARGEST_BITS = 20_000  # of an exact power; larger ones are computed in floating point
LARGEST_EXPONENT = 2**200  # of a floating-point number, in bits
LARGEST_ARGUMENT = 2**60  # of a periodic function, whose precision grows with its argument
LARGEST_FACTORIAL = 3_000
FINEST_ROOT = 10_000
LARGEST_MATRIX_POWER, LARGEST_DETERMINANT = 64, 5
SQUARE = 2


class NoValueError(UnreadableError):
    """A tree has no finite value here, or one too large to compute."""


def evaluate(node: Node, point: Mapping[str, Value]) -> Value:
    """The value where the variables have the values of `point`; NoValueError where there is none."""
    try:
        return _value(node, point)
    except (ZeroDivisionError, OverflowError, ValueError, TypeError, NoConvergence) as error:
        if isinstance(error, NoValueError):
            raise
        raise NoValueError(f"no value: {error}") from error


def _value(node: Node, point: Mapping[str, Value]) -> Value:
    found: Value = None
    match node:
        case Number(value):
            found = value
        case Symbol(name):
            found = point[name]
        case Constant(name):
            found = {"pi": mp.pi, "e": mp.e, "i": mpc(0, 1), "infinity": mp.inf}[name] + 0
        case Percent(value):
            found = divided(_value(value, point), Fraction(100))
        case Matrix(rows):
            found = [[_value(cell, point) for cell in row] for row in rows]
        case Ratio((left, right)):
            found = divided(_value(left, point), _value(right, point))
        case Call(name, args):
            found = _called(name, args, point)
        case _:
            raise NoValueError(f"a {type(node).__name__} has no value")
    return found


def _called(name: str, args: tuple[Node, ...], point: Mapping[str, Value]) -> Value:
    if name.startswith("apply ") or name.startswith("inverse "):
        return applied(name, [_value(arg, point) for arg in args])
    values = [_value(arg, point) for arg in args]
    if name in ARITHMETIC:
        return ARITHMETIC[name](values)
    if name in MANY and len(values) >= 1:
        return MANY[name](values)
    if name == "log" and len(values) > 1:
        return mp.log(real_or_complex(values[0])) / mp.log(real_or_complex(values[1]))
    if name in ONE and len(values) == 1:
        value = real_or_complex(values[0])
        if abs(value) > LARGEST_ARGUMENT and name not in ("ln", "log", "log10", "abs"):
            raise NoValueError(f"{name} of a very large number")
        return ONE[name](value)
    raise NoValueError(f"{name} of {len(values)} values")


def real_or_complex(value: Value) -> Value:
    """A value as a number of mpmath."""
    if isinstance(value, list):
        raise NoValueError("a matrix where a number was expected")
    return mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def added(left: Value, right: Value) -> Value:
    if isinstance(left, list) or isinstance(right, list):
        if not (isinstance(left, list) and isinstance(right, list)) or [len(row) for row in left] != [len(row) for row in right]:
            raise NoValueError("a sum of matrices of different sizes")
        return [[added(a, b) for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left + right
    return real_or_complex(left) + real_or_complex(right)


def multiplied(left: Value, right: Value) -> Value:
    """A product of numbers and matrices."""
    if isinstance(left, list) and isinstance(right, list):
        if len(left[0]) != len(right):
            raise NoValueError("a product of matrices that do not fit")
        columns = list(zip(*right, strict=True))
        return [[summed([multiplied(a, b) for a, b in zip(row, column, strict=True)]) for column in columns] for row in left]
    if isinstance(left, list):
        return [[multiplied(cell, right) for cell in row] for row in left]
    if isinstance(right, list):
        return [[multiplied(left, cell) for cell in row] for row in right]
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left * right
    return real_or_complex(left) * real_or_complex(right)


def summed(values: list[Value]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = added(total, value)
    return total


def divided(left: Value, right: Value) -> Value:
    if isinstance(right, list):
        raise NoValueError("a division by a matrix")
    if isinstance(right, Fraction):
        return multiplied(left, 1 / right)
    if not mp.isfinite(right):
        raise NoValueError("a division by infinity")
    return multiplied(left, 1 / right)


def powered(base: Value, exponent: Value) -> Value:
    """A power; exact where both are fractions, the exponent is whole and the result is small."""
    if isinstance(base, list):
        return matrix_power(base, exponent)
    whole = isinstance(exponent, Fraction) and exponent.denominator == 1
    if isinstance(base, Fraction) and whole:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent.numerator)
        if base in (0, 1) or bits <= LARGEST_BITS:
            return base**exponent.numerator
    first, second = real_or_complex(base), real_or_complex(exponent)
    if first == 0:
        if mp.re(second) > 0:
            return Fraction(0)
        raise NoValueError("zero to a power that is not positive")
    if mp.im(first) == 0 and mp.re(first) < 0 and isinstance(exponent, Fraction) and exponent.denominator % 2 and exponent.denominator > 1:
        size = mp.power(-mp.re(first), second)  # as the root of an odd degree
        return -size if exponent.numerator % 2 else size
    if not mp.isfinite(first) or not mp.isfinite(second) or abs(second * mp.log(abs(first) + 2)) > LARGEST_EXPONENT:
        raise NoValueError("a power that is too large")
    return mp.power(first, second)


def matrix_power(base: list[list[Value]], exponent: Value) -> Value:
    if not isinstance(exponent, Fraction) or exponent.denominator != 1 or not 1 <= exponent <= LARGEST_MATRIX_POWER:
        raise NoValueError("a power of a matrix")
    found: Value = base
    for _ in range(int(exponent) - 1):
        found = multiplied(found, base)
    return found


def rooted(value: Value, degree: Value) -> Value:
    """The principal root; the real one where the degree is odd and the value a negative number."""
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 1 <= degree <= FINEST_ROOT:
        return powered(value, divided(Fraction(1), degree))
    n = int(degree)
    if isinstance(value, Fraction) and value >= 0:
        top, bottom = exact_root(value.numerator, n), exact_root(value.denominator, n)
        if top is not None and bottom is not None:
            return Fraction(top, bottom)
    number = real_or_complex(value)
    if n % 2 and mp.im(number) == 0 and mp.re(number) < 0:
        return -mp.root(-mp.re(number), n)
    return mp.sqrt(number) if n == SQUARE else mp.root(number, n)


def exact_root(value: int, degree: int) -> int | None:
    if value in (0, 1):
        return value
    if value.bit_length() > LARGEST_BITS:
        return None
    near = math.isqrt(value) if degree == SQUARE else int(mp.nint(mp.root(value, degree)))
    return near if near**degree == value else None


def factorial(value: Value) -> Value:
    """The factorial; by the gamma function where the value is not whole, or large."""
    if isinstance(value, Fraction) and value.denominator == 1:
        if value < 0:
            raise NoValueError("the factorial of a negative number")
        if value <= LARGEST_FACTORIAL:
            return Fraction(math.factorial(value.numerator))
    number = real_or_complex(value)
    if abs(number) > LARGEST_ARGUMENT:
        raise NoValueError("a factorial that is too large")
    return mp.factorial(number)


def binomial(top: Value, bottom: Value) -> Value:
    exact = isinstance(top, Fraction) and isinstance(bottom, Fraction) and top.denominator == bottom.denominator == 1
    if exact and 0 <= bottom <= top <= LARGEST_FACTORIAL:
        return Fraction(math.comb(int(top), int(bottom)))
    if max(abs(real_or_complex(top)), abs(real_or_complex(bottom))) > LARGEST_ARGUMENT:
        raise NoValueError("a binomial coefficient that is too large")
    return mp.binomial(real_or_complex(top), real_or_complex(bottom))


def absolute(value: Value) -> Value:
    if isinstance(value, list):
        return determinant(value)
    return abs(value)


def determinant(rows: list[list[Value]]) -> Value:
    """By the first row; for the small matrices of answers."""
    if len(rows) != len(rows[0]) or len(rows) > LARGEST_DETERMINANT:
        raise NoValueError("the determinant of a matrix that is not square, or large")
    if len(rows) == 1:
        return rows[0][0]
    parts = [
        multiplied(Fraction((-1) ** j), multiplied(rows[0][j], determinant([[*row[:j], *row[j + 1 :]] for row in rows[1:]])))
        for j in range(len(rows))
    ]
    return summed(parts)


def whole_numbers(values: list[Value]) -> list[int]:
    if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
        raise NoValueError("a divisor or multiple of numbers that are not whole")
    return [int(value) for value in values]


def ordered(values: list[Value]) -> list[Value]:
    if any(isinstance(value, list) or mp.im(real_or_complex(value)) != 0 for value in values):
        raise NoValueError("the largest of values without an order")
    return sorted(values, key=lambda value: mp.re(real_or_complex(value)))


def rounded(value: Value, whole: Callable[[Any], Any]) -> Value:
    if isinstance(value, list) or mp.im(real_or_complex(value)) != 0 or abs(value) > LARGEST_ARGUMENT:
        raise NoValueError("the whole part of such a number")
    return Fraction(int(whole(value if isinstance(value, Fraction) else mp.re(value))))


def applied(name: str, values: list[Value]) -> Value:
    """An unknown function as one fixed smooth function of its arguments, chosen by its name."""
    seed = sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 9973
    total = mpf(seed) / 7
    for place, value in enumerate(values, start=2):
        total += real_or_complex(value) * mp.sqrt(place)
    return mp.sin(total) + mp.sqrt(seed + 1)


ARITHMETIC: dict[str, Callable[[list[Value]], Value]] = {
    "+": summed,
    "-": lambda values: multiplied(Fraction(-1), values[0]),
    "*": lambda values: multiplied(*values),
    "/": lambda values: divided(*values),
    "^": lambda values: powered(*values),
    "root": lambda values: rooted(*values),
    "binomial": lambda values: binomial(*values),
    "factorial": lambda values: factorial(values[0]),
    "abs": lambda values: absolute(values[0]),
    "norm": lambda values: absolute(values[0]),
    "det": lambda values: determinant(values[0]),
    "exp": lambda values: powered(mp.e + 0, values[0]),
    "degree": lambda values: multiplied(real_or_complex(values[0]), mp.pi / 180),
    "floor": lambda values: rounded(values[0], math.floor),
    "ceil": lambda values: rounded(values[0], math.ceil),
}
MANY: dict[str, Callable[[list[Value]], Value]] = {
    "gcd": lambda values: Fraction(math.gcd(*whole_numbers(values))),
    "lcm": lambda values: Fraction(math.lcm(*whole_numbers(values))),
    "max": lambda values: ordered(values)[-1],
    "min": lambda values: ordered(values)[0],
}
ONE: dict[str, Callable[[Any], Value]] = {
    name: getattr(mp, theirs)
    for name, theirs in {
        "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
        "coth": "coth", "sech": "sech", "csch": "csch", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "ln": "log",
        "log": "log", "log10": "log10", "cis": "expj", "sgn": "sign", "arg": "arg", "Re": "re", "Im": "im",
    }.items()
}  # fmt: skip
