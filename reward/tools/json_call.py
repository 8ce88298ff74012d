"""Reads a call that is a JSON object: {"name": ..., "arguments": {...}}."""

import json
import re
from typing import Any

from reward.tools.call import BadCall, Call, Found

ARGUMENTS = ("arguments", "parameters", "args")
SHOWN = 40
PYTHON_WORD = re.compile(r"(None|True|False)\b")


def refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


# Models write line breaks within strings as they are.
DECODER = json.JSONDecoder(strict=False, parse_constant=refuse_constant)


def read_object(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at `start` and where it ends; ValueError says in the model's words why there is none."""
    try:
        return DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise ValueError(describe(text, start, error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise ValueError(str(error).partition(";")[0]) from None


def describe(text: str, start: int, error: json.JSONDecodeError) -> str:
    """What is wrong with the JSON, and what to do about the mistakes that models make."""
    at = error.pos
    before, after = text[start:at].rstrip(), text[at:].lstrip()
    if not after or error.msg.startswith("Unterminated string"):
        return "the JSON is not complete"
    where = f"{error.msg} at {text[at : at + SHOWN]!r}"
    if before.endswith(",") and after[0] in "}]":
        return f"{where}: remove the comma before {after[0]}"
    if after[0] == "'":
        return f"{where}: put texts into double quotes, not single ones"
    if found := PYTHON_WORD.match(after):
        return f"{where}: write null, true or false, not {found[1]}"
    if error.msg.startswith("Expecting ',' delimiter"):
        return f'{where}: write a double quote within a text as \\", and a comma between values'
    return where


def calls_of(value: Any) -> list[Found]:
    """The calls of a JSON value: an object, or a list of them."""
    return [call_of(one) for one in value] if isinstance(value, list) and value else [call_of(value)]


def call_of(value: Any) -> Found:
    """The call that a JSON object describes. Its arguments may be an object, its JSON as text, or left out."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        return BadCall(why=f"a call is a JSON object, got {json.dumps(value)[:SHOWN]}")
    name = value.get("name")
    if not isinstance(name, str) or not name.strip():
        return BadCall(why='the JSON object has no "name" of a tool')
    given: Any = next((value[key] for key in ARGUMENTS if value.get(key) is not None), {})
    if isinstance(given, str):
        try:
            given, _ = read_object(given.strip() or "{}", 0)
        except ValueError as error:
            return BadCall(why=f'the text in "arguments" is no JSON object: {error}')
    if not isinstance(given, dict):
        return BadCall(why=f'"arguments" must be a JSON object, got {json.dumps(given)[:SHOWN]}')
    return Call(name=name.strip(), arguments=given)


def is_a_call(value: Any) -> bool:
    """Whether a JSON object in a text is meant as a call: it has a name and arguments."""
    return isinstance(value, dict) and isinstance(value.get("name"), str) and any(key in value for key in ARGUMENTS)
