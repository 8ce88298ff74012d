"""`key.path=value` overrides from the command line, merged into the tables of a config file."""

import tomllib
from collections.abc import Sequence

from configs.tables import Table

NUMBER_OR_TABLE = ("rollout.engines",)  # a key of their table may be set although a file gives them a number


def merge_overrides(table: Table, overrides: Sequence[str]) -> tuple[set[str], list[str]]:
    """Merge the overrides into the table in place. Returns the dotted keys that were set and a line for each invalid override."""
    keys, faults = set(), []
    for override in overrides:
        try:
            path, value = parse_override(override)
            merge_value(table, path, value)
            keys.add(".".join(path))
        except ValueError as error:
            faults.append(f"command line: {override}: {error}")
    return keys, faults


def parse_override(override: str) -> tuple[list[str], object]:
    key, equals, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ValueError("got no key.path=value; write for example learner.lr=1e-6")
    return path, parse_value(text.strip())


def parse_value(text: str) -> object:
    """A TOML value. A bare word, such as a path, is a string."""
    try:
        values = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if not text or text[0] in "\"'[{" or "\n" in text:
            raise ValueError(f"got a value that is not TOML ({error}); quote strings and close brackets") from None
        return text
    if list(values) != ["value"]:
        raise ValueError("got more than one value; give each override as its own argument")
    return values["value"]


def merge_value(table: Table, path: Sequence[str], value: object) -> None:
    """Set one value. A table is merged into the existing table; any other value replaces what was there."""
    for number, part in enumerate(path[:-1], start=1):
        if ".".join(path[:number]) in NUMBER_OR_TABLE and isinstance(table.get(part), int):
            table[part] = {}
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ValueError(f"{'.'.join(path[:number])} is a value, not a table; needed the key of a table")
    existing = table.get(path[-1])
    if isinstance(value, dict) and isinstance(existing, dict):
        for key, inner in value.items():
            merge_value(existing, [key], inner)
    else:
        table[path[-1]] = value
