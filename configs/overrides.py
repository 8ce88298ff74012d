"""`key.path=value` from the command line, put on top of a config file's tables."""

import tomllib
from collections.abc import Sequence
from typing import Any

Table = dict[str, Any]


def merge_overrides(table: Table, overrides: Sequence[str]) -> tuple[set[str], list[str]]:
    """Merge the overrides into the table in place; the dotted keys they set, and what is wrong with those that set nothing."""
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
    """A TOML value; a bare word, such as a path, is the string it looks like."""
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
    """Set one value; a table is merged into the table that stands there, anything else takes its place."""
    for number, part in enumerate(path[:-1], start=1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ValueError(f"{'.'.join(path[:number])} is a value, not a table; needed the key of a table")
    standing = table.get(path[-1])
    if isinstance(value, dict) and isinstance(standing, dict):
        for key, inner in value.items():
            merge_value(standing, [key], inner)
    else:
        table[path[-1]] = value
