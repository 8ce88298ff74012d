"""What a reference gives, whatever form of file it comes from: JSON text is read, and a key that is null is left out.

Columns of Parquet, and of the hub, give every row of a struct all keys and fill the absent ones with null. In JSON Lines the same rows
lack those keys.
"""

from typing import Any

from configs.json_cell import from_json


def given(reference: object, mark: str = "") -> object:
    """The reference without the keys that are null; a JSON text of an object or a list is read first.

    A checker that also takes plain text names a `mark`, a key that all its objects have: a JSON text without that key stays a text.
    """
    if isinstance(reference, str):
        value = from_json(reference)
        if value is None or (mark and not (isinstance(value, dict) and mark in value)):
            return reference
        reference = value
    return without_nulls(reference) if isinstance(reference, dict) else reference


def without_nulls(table: dict[str, Any]) -> dict[str, Any]:
    """The keys of a table that have a value. Tables within it stay as they are: their nulls may be data."""
    return {key: value for key, value in table.items() if value is not None}
