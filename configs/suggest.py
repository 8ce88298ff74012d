"""What an error says about one key: what it needs, and which known key an unknown one was probably meant to be."""

from difflib import get_close_matches
from functools import cache
from typing import Any

from configs.schema import Config
from configs.toml_writer import write_value

KINDS = {"integer": "a whole number", "number": "a number", "string": "a string in quotes", "boolean": "true or false", "object": "a table"}
# JSON schema writes the first name of a bound, pydantic the second where a value is a float or an int.
BOUNDS = {
    "minimum": "at least", "ge": "at least", "exclusiveMinimum": "above", "gt": "above",
    "maximum": "at most", "le": "at most", "exclusiveMaximum": "below", "lt": "below",
}  # fmt: skip
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
    """Key -> JSON schema of its value in the tables below a key, such as [reward.parts.NAME]; empty for a key without tables."""
    tables = known_keys().get(section, {}).get(leaf, {}).get("additionalProperties", {})
    return definitions()[tables["$ref"].rpartition("/")[2]] if isinstance(tables, dict) and "$ref" in tables else {}


def flatten_type(schema: dict[str, Any]) -> dict[str, Any]:
    """The one type of a value: `X | None` counts as X, `float | int` as a number, and `X | "auto"` as X with a `word`."""
    while "anyOf" in schema:
        members = schema["anyOf"]
        words = next(({"word": member["const"]} for member in members if "const" in member), {})
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        schema = {**rest, **next(member for member in members if "const" not in member), **words}
    return schema


def describe_need(key: str) -> str:
    """What a dotted key may be, and an example: `a whole number, at least 1: write for example steps = 100`."""
    section, _, leaf = key.partition(".")
    schema = flatten_type(known_keys()[section][leaf]) if leaf else {"type": "object"}
    return describe_value(section, leaf, schema)


def describe_value(table: str, leaf: str, schema: dict[str, Any]) -> str:
    """What a value of that schema may be at a key of a table. Without a key it is the table itself."""
    if schema["type"] == "object":
        return f"a table: write [{table}.{leaf}] and its keys below it" if leaf else f"a table: write [{table}] and its keys below it"
    need = KINDS.get(schema["type"], "")
    if "enum" in schema:
        need = "one of " + ", ".join(map(write_value, schema["enum"]))
    elif schema["type"] == "array":
        each = describe_limits(item_of(schema))
        need = f"an {name_array(schema)}" + (f", each{each.removeprefix(',')}" if each else "")
    need += describe_limits(schema) + (f", or a range such as {schema['table']}" if "table" in schema else "")
    need += f", or {write_value(schema['word'])}" if "word" in schema else ""
    about = f" ({first_sentence(schema['description'])})" if "description" in schema else ""
    return f"{need}{about}: write for example {leaf} = {example_of(schema)} in [{table}]"


def item_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an array's items, which are all alike."""
    return flatten_type(schema["prefixItems"][0] if "prefixItems" in schema else schema["items"])


def name_array(schema: dict[str, Any]) -> str:
    """What an array holds, and how many of it where that is fixed: `array of 2 numbers`."""
    what = "texts" if item_of(schema)["type"] == "string" else "numbers"
    return f"array of {schema['minItems']} {what}" if "prefixItems" in schema else f"array of {what}"


def describe_limits(schema: dict[str, Any]) -> str:
    """What a number or a text must obey, in words, such as `, at least 0, at most 1`; empty where everything is allowed."""
    bounds = "".join(f", {word} {schema[bound]}" for bound, word in BOUNDS.items() if bound in schema)
    return bounds + (", not empty" if schema.get("minLength") else "")


def example_of(schema: dict[str, Any]) -> str:
    """A value to write: the first choice, the field's own example, its default, or any value of its type."""
    examples = [*schema.get("enum", ()), *schema.get("examples", ()), schema.get("default")]
    return EXAMPLES.get(schema["type"], "…") if examples[0] is None else write_value(examples[0])


def first_sentence(description: str) -> str:
    """What a key is, without details and without the marks of a documentation page."""
    return description.partition(". ")[0].replace("`", "")


def suggest_key(unknown: str) -> str | None:
    """The known dotted key that an unknown one was probably meant to be: a misspelt one, or one of another section."""
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
