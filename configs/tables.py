"""Tables within tables of a config's pass-through sections."""

from typing import Any

Table = dict[str, Any]


def inner_table(table: Table, path: tuple[str, ...]) -> Table:
    """The table at a path of keys; empty if a key is missing or its value is no table."""
    for key in path:
        inner = table.get(key)
        if not isinstance(inner, dict):
            return {}
        table = inner
    return table
