"""Finds the JSON in a response and reads it strictly."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

DEEPEST = 64  # levels of nesting; json and jsonschema recurse
FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[ \t]*$")
BRACKET = re.compile(r"[\[\]{}]")
STRING_OR_BRACKET = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|[\[\]{}]')  # a string has no line end, so an open one ends there
CLOSES = {"}": "{", "]": "["}


class NotJsonError(ValueError):
    """The text is not JSON, or has a form that is refused here."""


def find_json(text: str) -> Any:
    """The value of the last block fenced as json, else of the whole text, else of its last {...} or [...] that is JSON.

    NotJsonError when there is none.
    """
    block = last_block(text)
    if block is not None:
        return read_json(block)
    try:
        return read_json(text)
    except NotJsonError:
        for start, end in reversed(bracketed(text)):
            try:
                return read_json(text[start:end])
            except NotJsonError:
                continue
        raise


def last_block(text: str) -> str | None:
    """The content of the last block fenced as json; an open block runs to the end."""
    found, kind, block = None, None, list[str]()
    for line in text.split("\n"):
        fence = FENCE.match(line.rstrip("\r"))
        if fence and kind is None:
            kind, block = fence[1].lower(), []
        elif fence and not fence[1]:
            found = "\n".join(block) if kind == "json" else found
            kind = None
        else:
            block.append(line)
    return "\n".join(block) if kind == "json" else found


def bracketed(text: str) -> list[tuple[int, int]]:
    """Start and end of every balanced {...} and [...] that is not inside another."""
    opened: list[tuple[str, int]] = []
    found: list[tuple[int, int]] = []
    for bracket, start in _brackets(text):
        if bracket in "{[":
            opened.append((bracket, start))
        elif opened and opened[-1][0] == CLOSES[bracket]:
            span = opened.pop()[1], start + 1
            while found and found[-1][0] > span[0]:
                found.pop()
            found.append(span)
        else:
            opened.clear()
    return found


def _brackets(text: str) -> Iterator[tuple[str, int]]:
    """Every bracket outside strings; a quote opens a string only within brackets, because prose has quotes too."""
    position, inside = 0, 0
    while token := (STRING_OR_BRACKET if inside else BRACKET).search(text, position):
        position = token.end()
        if token[0] in "{[]}":
            inside = max(0, inside + (1 if token[0] in "{[" else -1))
            yield token[0], token.start()


def read_json(text: str) -> Any:
    """The value of a JSON text; NotJsonError when it is none.

    Stricter than Python's reader: no NaN, no Infinity, no key twice in an object, no number beyond a float, at most 64 levels.
    A byte order mark at the start is forgiven.
    """
    text = text.removeprefix("\ufeff")
    depth = 0
    for bracket, _ in _brackets(text):
        depth += 1 if bracket in "{[" else -1
        if depth > DEEPEST:
            raise NotJsonError(f"more than {DEEPEST} levels deep")
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_float, parse_int=_int, object_pairs_hook=_object)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotJsonError(str(error)) from error


def _refuse(word: str) -> None:
    raise NotJsonError(f"{word} is not JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise NotJsonError(f"{digits:.40} is beyond every float")
    return number


def _int(digits: str) -> int:
    _float(digits)
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotJsonError("a key stands twice in an object")
    return found
