"""Which nulls in a JSON Schema say something, and which only fill the columns of Parquet."""

from typing import Any

DATA = ("const", "enum", "default", "examples")  # keywords whose values are data, not schemas
BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependentRequired", "dependencies")


def schema_without_nulls(schema: Any) -> Any:
    """The schema without keywords and properties that are null, which no draft has.

    `"const": null` is a real rule. It is left out only where it cannot be meant: beside a `type` or an `enum` without null, or beside
    another rule and a keyword that is null, as only columns have them.
    """
    if isinstance(schema, list):
        return [schema_without_nulls(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _inner(key, value) for key, value in schema.items() if value is not None}
    if "const" in schema and schema["const"] is None:
        filled = any(value is None for key, value in schema.items() if key != "const")
        if not excludes_null(found) and not (filled and found):
            found["const"] = None
    return found


def _inner(key: str, value: Any) -> Any:
    """The value of a keyword, the schemas in it without nulls."""
    if key in DATA:
        return value
    if key in BY_NAME and isinstance(value, dict):
        return {name: schema_without_nulls(part) for name, part in value.items() if part is not None}
    return schema_without_nulls(value)


def excludes_null(schema: dict[str, Any]) -> bool:
    """Whether a `type` or an `enum` makes null impossible."""
    kinds, values = schema.get("type"), schema.get("enum")
    listed = kinds if isinstance(kinds, list) else [kinds]
    return (kinds is not None and "null" not in listed) or (isinstance(values, list) and None not in values)
