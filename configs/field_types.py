"""What a library's settings may be, read from its source: the types and bounds of the annotated fields of a class.

Importing vLLM or DeepSpeed takes far longer than checking a config should. What this reader does not know counts as anything.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

BUILTIN: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "Path": str, "None": None}
CONTAINERS = {"list": list, "List": list, "set": list, "Set": list, "tuple": list, "dict": dict, "Dict": dict}  # TOML has lists alone
MARKS = ("ge", "gt", "le", "lt")


class FieldType(NamedTuple):
    """What one field may be: a Python type, and its bounds by pydantic's names."""

    type: Any
    bounds: dict[str, float]


@cache
def parsed(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def class_in(source: Path, name: str) -> ast.ClassDef | None:
    """The class of that name at the top of a file."""
    return next((node for node in parsed(source).body if isinstance(node, ast.ClassDef) and node.name == name), None)


def annotated(found: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    """The annotated fields of a class, each by its name and by its pydantic alias."""
    for field in found.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id, field
            if isinstance(field.value, ast.Call):
                yield from ((name, field) for word in field.value.keywords if word.arg == "alias" for name in text_of(word.value))


def text_of(node: ast.expr) -> Iterator[str]:
    """The text of a string that is written out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def number_of(node: ast.expr) -> float | None:
    """The number that is written out, None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else None


def field_type(root: Path, source: Path, owner: str, name: str) -> FieldType | None:
    """The type of one field of class `owner`, None where the class has no such field. `root` is the library's folder."""
    found = class_in(source, owner)
    field = dict(annotated(found)).get(name) if found else None
    if field is None:
        return None
    return FieldType(read_type(root, source, field.annotation), bounds_of(root, source, field.value, name))


def read_type(root: Path, source: Path, node: ast.expr | None) -> Any:
    """The Python type that an annotation means; Any for what is unknown."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() as quoted_type):
            return read_type(root, source, ast.parse(quoted_type, mode="eval").body)
        case ast.Name(id=name):
            return BUILTIN[name] if name in BUILTIN else read_named(root, source, name)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return one_of(read_type(root, source, left), read_type(root, source, right))
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            return read_subscript(root, source, outer, inner)
    return Any


def read_subscript(root: Path, source: Path, outer: str, inner: ast.expr) -> Any:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer == "Literal":
        return Literal[tuple(part.value for part in parts if isinstance(part, ast.Constant))]
    if outer in ("Optional", "Union"):
        return one_of(*(read_type(root, source, part) for part in parts), *([None] if outer == "Optional" else []))
    return CONTAINERS.get(outer, Any)


def one_of(*types: Any) -> Any:
    return Any if Any in types else Union[types]  # noqa: UP007 - the members are known only now


def read_named(root: Path, source: Path, name: str) -> Any:
    """What a name stands for: an alias of a Literal or the words of an enum, here or in the module that it is imported from."""
    for node in parsed(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Subscript() as value) if target == name:
                return read_type(root, source, value)
            case ast.ClassDef(name=target) if target == name:
                return enum_values(node)
    home = imported_from(root, source, name)
    return read_named(root, home, name) if home else Any


def enum_values(node: ast.ClassDef) -> Any:
    """The values of an enum whose members are text or numbers themselves; Any for another class."""
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    values = [item.value.value for item in node.body if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)]
    return Literal[tuple(values)] if values and bases & {"str", "int", "IntEnum", "StrEnum"} else Any


def imported_from(root: Path, source: Path, name: str) -> Path | None:
    """The file of the library that a name is imported from, None for names from elsewhere."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            package = source.parents[node.level - 1] if node.level else root.parent
            place = package.joinpath(*(node.module or "").split("."))
            homes = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
            return homes[0] if homes and (node.level or (node.module or "").split(".")[0] == root.name) else None
    return None


def bounds_of(root: Path, source: Path, value: ast.expr | None, name: str) -> dict[str, float]:
    """The bounds in `Field(ge=1)`, or in the field of another class that a default is taken from."""
    match value:
        case ast.Call(func=ast.Name(id="Field"), keywords=words):
            return {word.arg: bound for word in words if word.arg in MARKS and (bound := number_of(word.value)) is not None}
        case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
            return bounds_of_class(root, source, owner, attribute)
        case ast.Call(func=ast.Name(id="get_field"), args=[ast.Name(id=owner), ast.Constant(value=str() as attribute)]):
            return bounds_of_class(root, source, owner, attribute)
        case ast.Constant(value=None):  # vLLM then takes the default of the config class with a field of that name
            classes = [alias.name for node in parsed(source).body if isinstance(node, ast.ImportFrom) for alias in node.names]
            owners = [owner for owner in classes if owner.endswith("Config")]
            return next((found for owner in owners if (found := bounds_of_class(root, source, owner, name))), {})
    return {}


def bounds_of_class(root: Path, source: Path, owner: str, name: str) -> dict[str, float]:
    """The bounds of a field of a class, followed through the imports to the file that declares it."""
    home: Path | None = source
    while home and not class_in(home, owner):
        home = imported_from(root, home, owner)
    found = class_in(home, owner) if home else None
    field = dict(annotated(found)).get(name) if found else None
    return bounds_of(root, home, field.value, "") if home and field and isinstance(field.value, ast.Call) else {}
