"""JSON Lines: one object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.digits import read_long_json, write_long_json
from rollout.data.row import DatasetError, RawRow
from rollout.data.text import text_lines

ONE_A_LINE = "each line must be one JSON object"
ARRAY = "one array of objects belongs in a file whose name ends in .json"
NAMED_FIELDS = "write it as {...} with named fields"


def read_json_lines(path: Path) -> Iterator[RawRow]:
    """One JSON object a line; blank lines are skipped."""
    for number, line in text_lines(path):
        if line.strip():
            where = f"{path} line {number}"
            yield RawRow(where, parse_object(line, where))


def parse_object(line: str, where: str) -> dict[str, Any]:
    """The object in a line; a DatasetError if there is none."""
    try:
        values = read_long_json(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where} is not JSON ({reason(error)}): {ARRAY if line.strip() == '[' else ONE_A_LINE}") from error
    return as_object(values, where, ARRAY if isinstance(values, list) else NAMED_FIELDS, escapes="\\u" in line)


def as_object(values: object, where: str, needed: str, escapes: bool) -> dict[str, Any]:
    """The value itself; a DatasetError if it is no JSON object, or if one of its `escapes` is half a character."""
    if not isinstance(values, dict):
        raise DatasetError(f"{where} is a JSON {type(values).__name__}, not an object: {needed}")
    if escapes:
        try:
            write_long_json(values, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise DatasetError(f"{where} has {half}, half of a surrogate pair: remove it or add its other half") from error
    return values


def reason(error: Exception) -> str:
    """What is wrong with the JSON, and where in its line."""
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
