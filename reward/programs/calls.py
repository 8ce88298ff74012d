"""Calls of one function of a program, in the program's process; the results leave as data, one line each."""

import json
from typing import Any

from reward.processes.descriptors import write_all
from reward.programs.coroutines import result_of
from reward.programs.values import decode, encode, plain_or_refuse, refuse_export

Names = dict[str, Any]


def answer_calls(names: Names, data: int, answers: int) -> None:
    """Make the calls that the descriptor `data` lists and write a line for each to `answers`; a call that raises is the last.

    data: {"name": "f", "calls": [[[argument, ...], {name: argument, ...}], ...]}.
    A line: {"value": ...}. The function may be a method of a class Solution.
    """
    with open(data, "rb") as file:
        order = json.loads(file.read())
    read = lambda argument: decode(argument, plain_or_refuse)  # noqa: E731
    for arguments, named in order["calls"]:
        function = find_function(names, order["name"])
        result = result_of(function(*map(read, arguments), **{name: read(argument) for name, argument in named.items()}))
        write_all(answers, json.dumps({"value": encode(result, refuse_export)}).encode() + b"\n")


def find_function(names: Names, name: str) -> Any:
    """The function of that name, or the method of a new Solution."""
    if name not in names and "Solution" in names:
        return getattr(names["Solution"](), name)
    return names[name]
