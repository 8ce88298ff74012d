"""The checker for JSON that must obey a JSON Schema, with partial credit for the parts that do.

jsonschema validates, in draft 2020-12 unless `$schema` names another. It is imported at the first call. Nothing is ever fetched: a
schema that refers to an address it does not hold itself is refused. `format` is not enforced, as the draft has it.
"""

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from configs.digits import read_long_json, write_long_json
from configs.json_cell import why_not_json
from reward.form.json_text import NotJsonError, find_json
from reward.form.options import read_options
from reward.form.schema_nulls import schema_without_nulls
from reward.given import given

if TYPE_CHECKING:
    from reward.form.schema_rules import Schema

READABLE = 0.1  # partial credit for JSON that breaks the schema everywhere


def read_schema(reference: object) -> tuple[str, bool]:
    """The schema as JSON text, and whether there is partial credit.

    The reference is a schema, its JSON text, or a table with `schema` and `partial`; ValueError when it is none of them.
    """
    wrapped, partial = given(reference, "schema"), False
    schema = reference
    if isinstance(wrapped, dict) and "schema" in wrapped:
        options = read_options(wrapped, {"schema": (dict, str), "partial": (bool,)})
        schema, partial = options["schema"], options.get("partial", False)
    elif isinstance(reference, dict) and "schema" in reference and reference["schema"] is None and set(reference) <= {"schema", "partial"}:
        raise ValueError(f"the schema is null, so every JSON would be right: give a schema, or {{}} for any JSON; got {reference}")
    if isinstance(schema, str):
        text = schema
        try:
            schema = read_long_json(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"reference must be a JSON Schema or its JSON text, got {why_not_json(text)}") from error
    if not isinstance(schema, dict):
        raise ValueError(f"reference must be a JSON Schema, which is an object; got {schema!r:.200} ({type(schema).__name__})")
    try:
        return write_long_json(schema_without_nulls(schema)), partial
    except RecursionError as error:
        raise ValueError("the schema is nested too deeply") from error


def json_reference(reference: object) -> None:
    """ValueError when the reference is no schema that can be used without a network."""
    _schema(read_schema(reference)[0])


def check_json(response: str, reference: object) -> float:
    """1.0 when the response's JSON obeys the schema, else 0.0.

    With `partial`, JSON that disobeys has 0.1 + 0.9 x the share of it that is right, as `reward.form.schema_share` defines it; no JSON 0.0.
    """
    from reward.form.schema_share import share_obeyed

    text, partial = read_schema(reference)
    schema = _schema(text)
    try:
        value = find_json(response)
        if schema.validator.is_valid(value):
            return 1.0
        return READABLE + (1 - READABLE) * share_obeyed(schema, value) if partial else 0.0
    except (NotJsonError, RecursionError):  # circular schemas are refused, so it is the response that is too deep
        return 0.0


def gold_json(reference: object) -> str | None:
    """The schema's own example, constant or first choice, where it has one."""
    schema = read_long_json(read_schema(reference)[0])
    given = schema.get("examples") or ([schema["const"]] if "const" in schema else schema.get("enum"))
    return write_long_json(given[0]) if given else None


@lru_cache(maxsize=256)
def _schema(text: str) -> "Schema":
    from reward.form.schema_rules import make_schema

    return make_schema(read_long_json(text))
