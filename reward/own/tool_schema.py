"""The schema of a function of the user's as a tool, from its signature and its Google docstring.

The result is the one of `transformers.utils.get_json_schema`, which chat templates are written for; workers must not import transformers.
"""

import inspect
import json
import re
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from reward.own.name import OwnCodeError

PLAIN: dict[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
    Any: {},
}
SECTIONS = r"(?:Args|Returns|Raises):"
DESCRIPTION = re.compile(rf"^(.*?)[\n\s]*(?:{SECTIONS}|\Z)", re.DOTALL)
ARGUMENTS = re.compile(r"\n\s*Args:\n\s*(.*?)[\n\s]*(?:Returns:|Raises:|\Z)", re.DOTALL)
RESULT = re.compile(r"\n\s*Returns:\n\s*(.*?)[\n\s]*(?:Raises:|\Z)", re.DOTALL)
ONE = re.compile(r"(?:^|\n)\s*(\w+):\s*(.*?)\s*(?=\n\s*\w+:|\Z)", re.DOTALL)
CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
EXAMPLE = '"""What it does.\n\nArgs:\n    {name}: what it is\n"""'


def schema_of(whole: str, function: Callable[..., object]) -> dict[str, Any]:
    """The schema of the tool `whole`; OwnCodeError says what its signature or docstring lacks."""
    name = getattr(function, "__name__", "")
    if not NAME.fullmatch(name):
        raise OwnCodeError(f"tool {whole!r} has no name that a model can call ({name!r}): write it as a function, `def name(...)`")
    parameters = parameters_of(whole, function)
    doc = (inspect.getdoc(function) or "").strip()
    if not doc:
        example = EXAMPLE.format(name=next(iter(parameters), "query"))
        raise OwnCodeError(f"tool {whole!r} has no docstring, from which the model learns what it does: write\n{example}")
    described = descriptions(doc)
    properties = {one: parameter_schema(whole, one, hint, described) for one, (hint, _) in parameters.items()}
    required = [one for one, (_, default) in parameters.items() if default is inspect.Parameter.empty]
    schema: dict[str, Any] = {"type": "object", "properties": properties} | ({"required": required} if required else {})
    found = DESCRIPTION.search(doc)
    what: dict[str, Any] = {"name": name, "description": found[1].strip() if found else None, "parameters": schema}
    if (result := result_schema(function, doc)) is not None:
        what["return"] = result
    return {"type": "function", "function": what}


def parameters_of(whole: str, function: Callable[..., object]) -> dict[str, tuple[Any, Any]]:
    """By name, the annotation and the default of each parameter that a model gives."""
    signature, hints = inspect.signature(function), hints_of(whole, function)
    found = {}
    for place, (name, one) in enumerate(signature.parameters.items()):
        if place == 0 and name in ("self", "cls") and one.annotation is inspect.Parameter.empty:
            continue
        if one.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise OwnCodeError(f"tool {whole!r} takes {one}, which no schema can describe: name every parameter")
        if one.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise OwnCodeError(f"tool {whole!r} takes {name!r} by position only, but calls name their arguments: remove the `/`")
        if one.annotation is inspect.Parameter.empty:
            raise OwnCodeError(f"tool {whole!r}: the parameter {name!r} has no type, which the model must know: write `{name}: str`")
        found[name] = (hints[name], one.default)
    return found


def hints_of(whole: str, function: Callable[..., object]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise OwnCodeError(f"tool {whole!r}: a type of its signature cannot be found ({error}): import it where the function is") from None


def descriptions(doc: str) -> dict[str, str]:
    """What a docstring says of each argument."""
    found = ARGUMENTS.search(doc)
    lines = "\n".join(line for line in found[1].strip().split("\n") if line.strip()) if found else ""
    return {name: re.sub(r"\s*\n+\s*", " ", text.strip()) for name, text in ONE.findall(lines)}


def parameter_schema(whole: str, name: str, hint: Any, described: dict[str, str]) -> dict[str, Any]:
    """The schema of one parameter, with its description and, after "(choices: [...])", the values that it may have."""
    schema = hint_schema(whole, name, hint)
    if name not in described:
        raise OwnCodeError(
            f"tool {whole!r}: its docstring does not describe the argument {name!r}, which the model must give: write a section\n"
            f"Args:\n    {name}: what it is"
        )
    text = described[name]
    if (choices := CHOICES.search(text)) is not None:
        try:
            values = json.loads(choices[1])
        except ValueError:
            raise OwnCodeError(f"tool {whole!r}: the choices of {name!r} must be a JSON list, got {choices[1]}") from None
        schema["enum"] = [one.strip() if isinstance(one, str) else one for one in values]
        text = text[: choices.start()].strip()
    return schema | {"description": text}


def result_schema(function: Callable[..., object], doc: str) -> dict[str, Any] | None:
    """The schema of the result, where the function says its type; a type that no schema describes is left out."""
    hints = get_type_hints(function)
    if "return" not in hints:
        return None
    try:
        schema = hint_schema("", "return", hints["return"])
    except OwnCodeError:
        return None
    found = RESULT.search(doc)
    return schema | ({"description": found[1].strip()} if found else {})


def hint_schema(whole: str, name: str, hint: Any) -> dict[str, Any]:
    """The JSON schema of a type; OwnCodeError where it has none."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is None and hint in PLAIN:
        return dict(PLAIN[hint])
    if origin in (Union, types.UnionType):
        return union_schema(whole, name, inside)
    if origin is Literal:
        kinds = list(dict.fromkeys(PLAIN[type(one)]["type"] for one in inside if type(one) in PLAIN))
        if all(type(one) in (int, float, str, bool, type(None)) for one in inside):
            return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(inside)}
    if origin is list:
        return {"type": "array", "items": hint_schema(whole, name, inside[0])}
    if origin is tuple and len(inside) > 1 and ... not in inside:
        return {"type": "array", "prefixItems": [hint_schema(whole, name, one) for one in inside]}
    if origin is dict:
        return {"type": "object", "additionalProperties": hint_schema(whole, name, inside[1])}
    shown = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise OwnCodeError(
        f"tool {whole!r}: the parameter {name!r} has the type {shown}, which no JSON value has: use str, int, float, bool, list[...], "
        "dict[str, ...], tuple[...] of fixed length, Literal[...], or these with `| None`"
    )


def union_schema(whole: str, name: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    """One of several types; None among them makes it nullable."""
    parts = [hint_schema(whole, name, one) for one in inside if one is not type(None)]
    if len(parts) == 1:
        schema = parts[0]
    elif all(part.keys() == {"type"} and isinstance(part["type"], str) for part in parts):
        kinds = sorted({part["type"] for part in parts})
        schema = {"type": kinds[0] if len(kinds) == 1 else kinds}
    else:
        schema = {"anyOf": parts}
    return schema | ({"nullable": True} if type(None) in inside else {})
