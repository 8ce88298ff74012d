"""What a function of the user's may return: anything that is one number."""

import inspect
from numbers import Real

SHOWN = 60


def number_of(value: object) -> float:
    """The number that a function returned, NaN and infinities included; TypeError says what it returned instead and what to do.

    Accepted: int, float, bool (True is 1), Fraction, Decimal, numpy scalars, and arrays and tensors without a dimension.
    """
    if isinstance(value, Real) or has_one_number(value):
        try:
            return float(value)  # type: ignore[arg-type]
        except OverflowError:
            raise TypeError(f"checker returned {type(value).__name__} above 1.8e308, needed a number that a float can hold") from None
    raise TypeError(f"checker returned {describe(value)}, needed a number: {advice(value)}")


def has_one_number(value: object) -> bool:
    """Whether float() can mean only one thing: numpy's and torch's scalars say so by a shape without dimensions."""
    return hasattr(type(value), "__float__") and len(getattr(value, "shape", ())) == 0


def describe(value: object) -> str:
    if value is None:
        return "None"
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    return f"{kind} of shape {tuple(shape)}" if shape is not None else f"{kind} {repr(value)[:SHOWN]}"


def advice(value: object) -> str:
    """What to change in the function."""
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that nobody awaited it
        return "await it"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return (
            "a function that is an environment has the `yield` itself: write `return (yield from ...)`; of a generator of numbers, its sum"
        )
    match value:
        case None:
            return "some way through it ends without `return`"
        case str() | bytes():
            return "return the number itself, not its text"
        case list() | tuple() | dict() | set():
            return "it scores one response a call; return its number alone"
    return "return a float; of an array, its mean or one of its entries" if hasattr(value, "shape") else "return a float"
