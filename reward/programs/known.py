"""Types of the standard library whose objects travel as data, and what each is rebuilt from.

The data comes from a program, so it is checked before anything is built: a range would be unrolled, a huge exponent multiplied out.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


@dataclass(frozen=True, slots=True)
class Known:
    """How one type is taken apart and built again."""

    parts: Callable[[Any], Any]  # of the object: a text, or a list or dict of values that travel
    content: type[Any]  # of the parts
    build: Callable[[Any, Any], Any] = lambda kind, parts: kind(parts)  # (the type, the parts) -> the object


def _whole(kind: Any, parts: list[Any]) -> Any:
    """An object that is made of whole numbers alone."""
    if any(type(part) is not int for part in parts):
        raise TypeError(f"{kind.__name__} is made of whole numbers, got {str(parts)[:200]}")
    return kind(*parts)


def _moment(kind: Any, parts: list[Any]) -> Any:
    """A date with a time, or a time: whole numbers, the fold, the time zone."""
    *numbers, fold, zone = parts
    if any(type(number) is not int for number in numbers):
        raise TypeError(f"{kind.__name__} is made of whole numbers, got {str(numbers)[:200]}")
    return kind(*numbers, zone, fold=fold)


def _zone(kind: Any, key: str) -> Any:
    if not ZONE.fullmatch(key):
        raise ValueError(f"not a time zone: {key[:200]}")
    return kind(key)


def _clock(value: Any) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo]


KNOWN = {
    ("collections", "Counter"): Known(dict, dict),
    ("collections", "OrderedDict"): Known(lambda value: list(dict.items(value)), list),
    ("collections", "deque"): Known(list, list),
    ("decimal", "Decimal"): Known(str, str),
    ("fractions", "Fraction"): Known(lambda value: [value.numerator, value.denominator], list, _whole),
    ("datetime", "date"): Known(lambda value: [value.year, value.month, value.day], list, _whole),
    ("datetime", "datetime"): Known(lambda value: [value.year, value.month, value.day, *_clock(value)], list, _moment),
    ("datetime", "time"): Known(_clock, list, _moment),
    ("datetime", "timedelta"): Known(lambda value: [value.days, value.seconds, value.microseconds], list, _whole),
    ("datetime", "timezone"): Known(lambda value: list(value.__getinitargs__()), list, lambda kind, parts: kind(*parts)),
    ("zoneinfo", "ZoneInfo"): Known(lambda value: value.key, str, _zone),
    ("uuid", "UUID"): Known(str, str),
}  # fmt: skip


def class_of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def known(kind: type[Any]) -> Known | None:
    """The entry of a type; None for other types, also for one that only has such a type's name."""
    found = KNOWN.get((kind.__module__, kind.__qualname__))
    return found if found is not None and kind is class_of(kind.__module__, kind.__qualname__) else None


def build(module: Any, name: Any, parts: Any) -> Any:
    """An object of a known type; TypeError or ValueError where the parts are not what it is made of."""
    found = KNOWN.get((module, name))
    if found is None:
        raise TypeError(f"not a type that travels: {str(module)[:100]}.{str(name)[:100]}")
    if type(parts) is not found.content:
        raise TypeError(f"not what a {name} is made of: {str(parts)[:200]}")
    return found.build(class_of(module, name), parts)
