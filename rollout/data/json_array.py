"""JSON files: an array of objects, an object that holds one under "data", or, as many tools write them, one object a line."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from configs.digits import any_digits
from rollout.data.json_lines import NAMED_FIELDS, as_object, read_json_lines
from rollout.data.row import DatasetError, RawRow
from rollout.data.text import whole_text

HELD = "data"
NEEDED = "write an array of objects, or one object a line"
DECODER = json.JSONDecoder()


def read_json(path: Path) -> Iterator[RawRow]:
    """The rows of a .json file. Its text is in memory as a whole; of an array only one object at a time."""
    text = whole_text(path)
    start = skip_space(text, 0)
    if start == len(text):
        return
    if text[start] == "[":
        yield from read_members(path, text, start)
        return
    value, end = parse_at(path, text, start)
    if skip_space(text, end) < len(text):
        yield from read_json_lines(path)
    else:
        yield from rows_under_data(path, value, escapes="\\u" in text)


def read_members(path: Path, text: str, place: int) -> Iterator[RawRow]:
    """The objects of the array that begins at `place`, parsed one at a time."""
    place, escapes = skip_space(text, place + 1), "\\u" in text
    for number in count(1):
        if number == 1 and text[place : place + 1] == "]":
            break
        value, place = parse_at(path, text, place)
        where = f"{path} row {number}"
        yield RawRow(where, as_object(value, where, NAMED_FIELDS, escapes))
        place = skip_space(text, place)
        if text[place : place + 1] == "]":
            break
        if text[place : place + 1] != ",":
            raise broken(path, text, place, "the array does not end" if place == len(text) else "a comma is missing")
        place = skip_space(text, place + 1)
    if (place := skip_space(text, place + 1)) < len(text):
        raise broken(path, text, place, "something follows the array")


def rows_under_data(path: Path, value: object, escapes: bool) -> Iterator[RawRow]:
    """The rows under "data" of a file that is one object; a DatasetError if they are not there."""
    table = as_object(value, str(path), NEEDED, escapes=False)
    if not isinstance(table.get(HELD), list):
        arrays = ", ".join(f'"{key}"' for key, inner in table.items() if isinstance(inner, list)) or "none"
        raise DatasetError(
            f'{path} is one JSON object without an array "{HELD}" (its arrays: {arrays}): write the array of rows alone or under '
            f'"{HELD}"; if the object is the only row, name the file .jsonl'
        )
    for number, row in enumerate(table[HELD], start=1):
        where = f'{path} row {number} of "{HELD}"'
        yield RawRow(where, as_object(row, where, NAMED_FIELDS, escapes))


def parse_at(path: Path, text: str, place: int) -> tuple[object, int]:
    """The JSON value that begins at `place`, and where it ends."""
    try:
        with any_digits():
            return DECODER.raw_decode(text, place)
    except (ValueError, RecursionError) as error:
        why, place = (error.msg, error.pos) if isinstance(error, json.JSONDecodeError) else (str(error), place)
        raise broken(path, text, place, why) from error


def skip_space(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def broken(path: Path, text: str, place: int, why: str) -> DatasetError:
    line = text.count("\n", 0, place) + 1
    return DatasetError(f"{path} line {line} is not JSON ({why}): {NEEDED}")
