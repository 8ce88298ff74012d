"""Python values as JSON and back, without their behaviour: the result is data of exact built-in types.

An object of any other type travels as a handle, a number under which its own process finds it. A handle of a subclass of a built-in type
carries the built-in value too, so that a namedtuple can be compared as a tuple, but never by its own methods.
"""

import builtins
from collections.abc import Callable
from typing import Any

from reward.programs.known import build, known

Json = Any
Export = Callable[[object, Json], Json]  # (object, its built-in value or None) -> the JSON in its place
Import = Callable[[Json], object]

EXACT_INT = 1 << 53
CLASSES = {name: found for name, found in vars(builtins).items() if isinstance(found, type) and not name.startswith("_")}
KEYS_VIEW: type[Any] = type({}.keys())
SEQUENCES: dict[str, type[Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class NotPlain(ValueError):
    """A value that cannot be sent, or JSON that encodes no value."""


def encode(value: Any, export: Export) -> Json:
    """The value as JSON; `export` encodes objects that are of no exact built-in type."""
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is int:
        return value if -EXACT_INT < value < EXACT_INT else {"int": hex(value)}
    parts = _parts(kind, value)
    return export(value, _plain_part(value, export)) if parts is None else {parts[0]: _encode_parts(parts[1], export)}


def _parts(kind: type[Any], value: Any) -> tuple[str, Any] | None:
    """The name of a known type and the parts of its value; None for other types."""
    if kind in SEQUENCES.values():
        return kind.__name__, list(value)
    if kind is dict:
        return "dict", [list(pair) for pair in value.items()]
    if kind in (bytes, bytearray):
        return kind.__name__, value.decode("latin-1")
    if kind in (complex, range):
        return kind.__name__, [value.real, value.imag] if kind is complex else [value.start, value.stop, value.step]
    if kind is type and (name := str(value.__name__)) in CLASSES and CLASSES[name] is value:
        return "class", name
    found = known(kind)
    return None if found is None else ("known", [kind.__module__, kind.__qualname__, found.parts(value)])


def _encode_parts(parts: Any, export: Export) -> Json:
    return parts if isinstance(parts, str) else [encode(part, export) for part in parts]


def _plain_part(value: Any, export: Export) -> Json:
    """The built-in value inside an object of a subclass, read without its methods; None for other objects."""
    scalars: tuple[Any, ...] = (int, float, str, bytes)
    for kind in scalars:
        if isinstance(value, kind):
            return encode(kind.__add__(value, kind()), export)
    for kind in SEQUENCES.values():
        if isinstance(value, kind):
            return {kind.__name__: [encode(item, export) for item in kind.__iter__(value)]}
    if type(value) is KEYS_VIEW:  # it equals a set of the same keys
        return {"set": [encode(key, export) for key in value]}
    if isinstance(value, dict):
        return encode(dict(dict.items(value)), export)
    return None


def decode(data: Json, handle: Import) -> Any:
    """The value that JSON encodes; `handle` decodes {"handle": ...} and {"callback": ...}. NotPlain where it encodes none."""
    if data is None or isinstance(data, bool | str | int | float):
        return data
    if not isinstance(data, dict) or not data:
        raise NotPlain(f"not a value: {str(data)[:200]}")
    name = next(iter(data))
    if name in ("handle", "callback"):
        return handle(data)
    parts = data[name]
    if len(data) != 1 or name not in MAKERS or not isinstance(parts, str if name in TEXTUAL else list):
        raise NotPlain(f"not a value: {str(data)[:200]}")
    return MAKERS[name](parts if name in TEXTUAL else [decode(part, handle) for part in parts])


def _known(parts: list[Any]) -> Any:
    try:
        module, name, content = parts
        return build(module, name, content)
    except (TypeError, LookupError, OSError) as error:  # OSError: a time zone that is a folder
        raise NotPlain(str(error)) from None


def _builtin_class(name: str) -> Any:
    if name not in CLASSES:
        raise NotPlain(f"not a class of Python's own: {name[:200]}")
    return CLASSES[name]


def _dict(pairs: list[Any]) -> dict[Any, Any]:
    if not all(type(pair) is list and len(pair) == 2 for pair in pairs):  # noqa: PLR2004
        raise NotPlain("not the pairs of a dict")
    return dict(pairs)


TEXTUAL = ("int", "bytes", "bytearray", "class")
MAKERS: dict[str, Callable[[Any], Any]] = SEQUENCES | {
    "dict": _dict,
    "int": lambda text: int(text, 16),
    "class": _builtin_class,
    "bytes": lambda text: text.encode("latin-1"),
    "bytearray": lambda text: bytearray(text, "latin-1"),
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "known": _known,
}


def plain_or_refuse(data: Json) -> Any:
    """A handle's built-in value; NotPlain where it has none."""
    if data.get("plain") is None:
        raise NotPlain("not data: an object of a class that the program defines")
    return decode(data["plain"], plain_or_refuse)


def refuse_export(value: object, plain: Json) -> Json:
    """The `export` of data that must be plain: data of a subclass loses its class, every other object is refused."""
    if plain is None:
        raise NotPlain(f"{type(value).__name__} is not plain data")
    return plain
