"""Tables and values as TOML text: Python's `tomllib` only reads."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import Any

LONGEST_SHOWN = 60
PASSWORD = re.compile(r"(?<=://)[^/@\s\"]+@")  # in an address, with the user
SECRET = re.compile(r"(?:^|_)(?:api_?key|access_key|wandb_key|token|secret|password)$", re.IGNORECASE)  # at the end of a key
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def write_toml(table: Mapping[str, Any]) -> str:
    """The table as TOML that `tomllib` reads back to an equal one; None values are left out."""
    return "\n".join(write_section(table, ())).lstrip("\n") + "\n"


def write_section(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{write_key(k)} = {write_value(v)}" for k, v in table.items() if v is not None and not isinstance(v, Mapping)]
    if path and (lines or not table):
        lines.insert(0, f"\n[{'.'.join(map(write_key, path))}]")
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += write_section(value, (*path, key))
    return lines


def write_key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else write_string(key)


def write_string(text: str) -> str:
    # JSON and TOML share their escapes, except for DEL: JSON leaves it bare, TOML refuses that.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_value(value: object) -> str:
    """One value on one line: strings quoted, lists as arrays, tables inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return write_string(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)  # TOML also writes "nan", "inf", "-inf"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{write_key(k)} = {write_value(v)}' for k, v in value.items())}}}"
    return value.isoformat() if isinstance(value, date | time) else str(value)


def quoted(names: Iterable[str]) -> str:
    """The names as TOML strings, for a message."""
    return ", ".join(map(write_string, names))


def shorten(value: object) -> str:
    """A value as TOML for a message, cut where it is long."""
    text = write_value(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def shown(key: str, value: object) -> str:
    """A key's value for a message, but no value of a key that sounds like a secret: messages go to logs."""
    if has_secret(key.rpartition(".")[2], value):
        return "a value that may be a secret, so it is not shown"
    return PASSWORD.sub("***@", shorten(value))


def has_secret(leaf: str, value: object) -> bool:
    """Whether a key, or a key in its tables, sounds like a secret."""
    inside = value.items() if isinstance(value, Mapping) else ()
    return bool(SECRET.search(leaf.replace("-", "_"))) or any(has_secret(str(name), inner) for name, inner in inside)
