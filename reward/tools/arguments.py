"""The arguments of a call against the schema of its tool; what is wrong is said in words that a model can follow."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

SHOWN = 60
MOST_PROBLEMS = 4
Schema = Mapping[str, Any]
KINDS: dict[str, type | tuple[type, ...]] = {
    "integer": int,
    "number": (int, float),
    "string": str,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


def typed(arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Arguments that the model wrote as bare text, as values of the schema's types; a text that fits no type stays a text."""
    properties = schema.get("properties") or {}
    return {name: value_of(text, properties.get(name) or {}) for name, text in arguments.items()}


def value_of(text: str, schema: Schema) -> Any:
    """The value that a bare text stands for."""
    types = types_of(schema)
    if not types or "string" in types:
        return None if text.strip() == "null" and may_be_null(schema) else text
    plain = text.strip()
    try:
        return json.loads(plain.lower() if plain in ("True", "False", "None") else plain)
    except (ValueError, RecursionError):
        return text


def types_of(schema: Schema) -> set[str]:
    """The JSON types that a schema allows; empty where it does not say, or says it in another way."""
    named = schema.get("type")
    if named is None:
        parts = schema.get("anyOf") or schema.get("oneOf") or []
        found = [types_of(part) for part in parts if isinstance(part, Mapping)]
        return set().union(*found) if found and all(found) else set()
    return {named} if isinstance(named, str) else set(named)


def may_be_null(schema: Schema) -> bool:
    return bool(schema.get("nullable")) or "null" in types_of(schema)


def problems_of(arguments: Mapping[str, Any], schema: Schema, *, strict: bool = True) -> str:
    """What is wrong with the arguments, in words; empty where they fit. strict: one that the schema does not name is wrong."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    problems = [f"the argument {name!r} is missing" for name in schema.get("required") or () if name not in arguments]
    for name, value in arguments.items():
        if name not in properties:
            if schema.get("additionalProperties", not strict) is False:
                problems.append(unknown(name, properties))
        elif (why := misfit(value, properties[name])) is not None:
            problems.append(f"the argument {name!r} {why}")
    return "; ".join(problems[:MOST_PROBLEMS])


def unknown(name: str, properties: Mapping[str, Any]) -> str:
    near = get_close_matches(name, properties, 1)
    hint = f", did you mean {near[0]!r}?" if near else f"; it takes {', '.join(properties) or 'none'}"
    return f"there is no argument {name[:SHOWN]!r}{hint}"


def misfit(value: Any, schema: Any) -> str | None:
    """Why a value does not fit a schema, "must be …, got …"; None where it does. Keywords other than these are the tool's to check."""
    if not isinstance(schema, Mapping) or (value is None and may_be_null(schema)):
        return None
    parts = schema.get("anyOf") or schema.get("oneOf")
    if parts and all(misfit(value, part) for part in parts):
        return f"must be {' or '.join(describe(part) for part in parts)}, got {shown(value)}"
    types = types_of(schema) if not parts else set()
    if types and not any(is_of(value, one) for one in types):
        return f"must be {describe(schema)}, got {shown(value)}"
    if "enum" in schema and not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in schema["enum"]):
        return f"must be one of {', '.join(json.dumps(one) for one in schema['enum'])}, got {shown(value)}"
    return misfit_inside(value, schema)


def misfit_inside(value: Any, schema: Schema) -> str | None:
    """The same for the entries of a list and the values of an object."""
    if isinstance(value, list):
        places = schema.get("prefixItems") or []
        if places and len(value) != len(places):
            return f"must have {len(places)} entries, got {len(value)}"
        kinds = [*places, *[schema.get("items")] * (len(value) - len(places))]
        inner = [(f"entry {place}", one, kind) for place, (one, kind) in enumerate(zip(value, kinds, strict=False))]
    elif isinstance(value, dict):
        known = schema.get("properties") or {}
        absent = [name for name in schema.get("required") or () if name not in value]
        if absent:
            return f"lacks {absent[0]!r}"
        inner = [(repr(name), one, known.get(name, schema.get("additionalProperties"))) for name, one in value.items()]
    else:
        return None
    return next((f"at {where} {why}" for where, one, kind in inner if (why := misfit(one, kind)) is not None), None)


def is_of(value: Any, kind: str) -> bool:
    """Whether a JSON value has a type of JSON Schema. 5.0 is no integer here: functions that count with it would break."""
    if isinstance(value, bool):
        return kind == "boolean"
    return kind not in KINDS or isinstance(value, KINDS[kind])


def describe(schema: Schema) -> str:
    """The types of a schema in words."""
    names = {"integer": "a whole number", "array": "a list", "object": "an object", "boolean": "true or false", "string": "a text"}
    return " or ".join(names.get(one, one if one == "null" else f"a {one}") for one in sorted(types_of(schema))) or "another value"


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
