"""Tables within tables of a config's pass-through sections."""

from typing import Any


def inner_table(table: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The table at a path of keys; empty where it is left out or is no table."""
    for key in path:
        inner = table.get(key)
        if not isinstance(inner, dict):
            return {}
        table = inner
    return table
