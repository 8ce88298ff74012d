"""What to tell a user about one key: what it needs, and which known key an unknown one was meant to be."""

from difflib import get_close_matches
from functools import cache
from typing import Any

from configs.schema import Config
from configs.toml_writer import write_value

KINDS = {"integer": "a whole number", "number": "a number", "string": "a string in quotes", "boolean": "true or false", "object": "a table"}
BOUNDS = {"minimum": "at least", "ge": "at least", "exclusiveMinimum": "above", "gt": "above"}
EXAMPLES = {"integer": "8", "number": "0.2", "string": '"…"'}


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """Name of a class -> key -> JSON schema of its value."""
    return {name: schema.get("properties", {}) for name, schema in Config.model_json_schema()["$defs"].items()}


@cache
def known_keys() -> dict[str, dict[str, dict[str, Any]]]:
    """Section -> key -> JSON schema of its value."""
    classes = {section: field.annotation.__name__ for section, field in Config.model_fields.items() if field.annotation}
    return {section: definitions()[name] for section, name in classes.items()}


def inner_keys(section: str, leaf: str) -> dict[str, dict[str, Any]]:
    """Key -> JSON schema of its value in the tables below a key, such as [reward.parts.NAME]; empty where it holds no tables."""
    tables = known_keys().get(section, {}).get(leaf, {}).get("additionalProperties", {})
    return definitions()[tables["$ref"].rpartition("/")[2]] if isinstance(tables, dict) and "$ref" in tables else {}


def flatten_type(schema: dict[str, Any]) -> dict[str, Any]:
    """The one type that a value may have, with `X | None` as X and `float | int` as a number."""
    while "anyOf" in schema:
        schema = {**{key: value for key, value in schema.items() if key != "anyOf"}, **schema["anyOf"][0]}
    return schema


def describe_need(key: str) -> str:
    """What may stand at a dotted key and an example of it: `a whole number, at least 1: write for example steps = 100`."""
    section, _, leaf = key.partition(".")
    schema = flatten_type(known_keys()[section][leaf]) if leaf else {"type": "object"}
    return describe_value(section, leaf, schema)


def describe_value(table: str, leaf: str, schema: dict[str, Any]) -> str:
    """What a value of that schema may be, at a key of a table; without a key it is the table itself."""
    if schema["type"] == "object":
        return f"a table: write [{table}.{leaf}] and its keys below it" if leaf else f"a table: write [{table}] and its keys below it"
    need = KINDS.get(schema["type"], "an array of numbers")
    if "enum" in schema:
        need = "one of " + ", ".join(map(write_value, schema["enum"]))
    elif schema["type"] == "array":
        need = f"an array of {schema['minItems']} numbers"
    need += "".join(f", {word} {schema[bound]}" for bound, word in BOUNDS.items() if bound in schema)
    default = schema.get("default")
    example = EXAMPLES.get(schema["type"], "…") if default is None else write_value(default)
    if "enum" in schema:
        example = write_value(schema["enum"][0])
    about = f" ({schema['description']})" if "description" in schema else ""
    return f"{need}{about}: write for example {leaf} = {example} in [{table}]"


def suggest_key(unknown: str) -> str | None:
    """The known dotted key that an unknown one was most likely meant to be: misspelt, or right but in another section."""
    sections = known_keys()
    section, _, leaf = unknown.partition(".")
    if not leaf:
        homes = [f"{name}.{section}" for name, keys in sections.items() if section in keys]
        return next(iter(homes + get_close_matches(section, sections, 1)), None) or closest_leaf(section)
    homes = [f"{name}.{leaf}" for name, keys in sections.items() if leaf in keys]
    near = [f"{section}.{match}" for match in get_close_matches(leaf, sections.get(section, {}), 1)]
    return next(iter(homes + near), None) or closest_leaf(leaf)


def closest_leaf(leaf: str) -> str | None:
    owners = {key: section for section, keys in known_keys().items() for key in keys}
    return next((f"{owners[match]}.{match}" for match in get_close_matches(leaf, owners, 1)), None)
