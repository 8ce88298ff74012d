"""Calls as Llama 3 writes them: JSON objects with a name and parameters, behind the thoughts of a turn."""

import re

from reward.thinking import Marks, answer_of
from reward.tools.call import BadCall, Call, Found
from reward.tools.json_call import calls_of, is_a_call, read_object

FORM = '{"name": "NAME", "parameters": {"ARGUMENT": VALUE}}'
PYTHON_TAG = "<|python_tag|>"
BEGINS = re.compile(r"(?:^|[\n;,\[>])[ \t]*(?=[{\[])")
MEANT = re.compile(r"[\[\s]*\{\s*[\"'](?:name|function|type)[\"']\s*:")
MOST_TRIES = 64  # beginnings of an object that are tried in one turn


def find_calls(text: str, marks: Marks, opened: bool) -> list[Found]:
    """The calls of a turn: each JSON object, at the beginning of a line or behind another one, that has a name and parameters."""
    answer = answer_of(text, marks, opened)
    if answer is None:
        return []
    _, tag, behind = answer.partition(PYTHON_TAG)
    if tag and behind.strip()[:1] not in ("{", "["):
        return [Call(name="python", arguments={"code": behind.strip()})] if behind.strip() else []
    found: list[Found] = []
    at = 0
    for _ in range(MOST_TRIES):
        begins = BEGINS.search(answer, at)
        if begins is None:
            break
        try:
            value, at = read_object(answer, begins.end())
        except ValueError as error:
            if MEANT.match(answer, begins.end()):
                found.append(BadCall(why=f"{error}. Write {FORM}"))
                break
            at = begins.end() + 1
            continue
        if is_a_call(value) or (isinstance(value, list) and value and all(map(is_a_call, value))):
            found += calls_of(value)
    return found
