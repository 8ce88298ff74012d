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


def number_in(table: Table, name: str, default: float) -> float:
    """A number of a table; `default` if it is left out or is no number, which other checks report."""
    value = table.get(name, default)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
