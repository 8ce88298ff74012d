"""Holds a value against the type and the bounds of a library's field."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError

from configs.field_types import FieldType
from configs.section import LARGEST
from configs.suggest import BOUNDS
from configs.toml_writer import quoted, shorten

MARKS = {"ge": Ge, "gt": Gt, "le": Le, "lt": Lt}
WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a table"}


def refusal(kind: FieldType, value: object) -> str | None:
    """What is wrong with a value, as `got …, needed …`; None where the field takes it."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"got {shorten(value)}, needed a number of at most 64 bits"
    try:
        TypeAdapter(kind.type).validate_python(value, strict=True)
        if isinstance(value, int | float) and not isinstance(value, bool):
            marks = [MARKS[name](bound) for name, bound in kind.bounds.items()]
            TypeAdapter(Annotated[Any, *marks, None]).validate_python(value)
    except ValidationError:
        bounds = "".join(f", {BOUNDS[name]} {bound:g}" for name, bound in kind.bounds.items())
        return f"got {shorten(value)}, needed {describe(kind.type)}{bounds}"
    return None


def describe(kind: Any) -> str:
    """A type in words."""
    if kind in WORDS:
        return WORDS[kind]
    members = [member for member in getattr(kind, "__args__", ()) if member is not type(None)]
    if getattr(kind, "__origin__", None) is Literal:
        return "one of " + (quoted(members) if all(isinstance(member, str) for member in members) else ", ".join(map(str, members)))
    return " or ".join(map(describe, members)) or "another value"
