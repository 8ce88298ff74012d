"""Tests as a list with one object a case, as LiveCodeBench, DeepCoder, SYNTHETIC-1 and Codeforces sets write them.

```
[{"input": "1 2\\n", "output": "3\\n"}, ...]
{"test_cases": [{"input": "[1, 2]\\n3", "output": "4", "testtype": "functional"}, ...], "fn_name": "f"}
```
The input of a functional case has the JSON of one argument on each line. A case may name the function itself, as "fn_name".
"""

import json
from typing import Any

from configs.digits import read_long_json

PAIR = {"input", "output"}
CASE_KEYS = PAIR | {"testtype", "type", "fn_name", "metadata"}
FUNCTIONAL = ("functional", "function_call")


def is_case_list(reference: list[Any]) -> bool:
    return bool(reference) and all(isinstance(case, dict) for case in reference)


def as_lists(fields: dict[str, Any]) -> dict[str, Any]:
    """The same reference with "inputs" and "outputs"; ValueError where a case cannot be read."""
    cases = fields["test_cases"]
    cases = read_long_json(cases) if isinstance(cases, str) else cases
    if not isinstance(cases, list) or not is_case_list(cases):
        raise ValueError('"test_cases" must be a list of objects with "input" and "output", and not empty')
    for number, case in enumerate(cases):
        if not case.keys() >= PAIR or case.keys() - CASE_KEYS:
            raise ValueError(f'case {number} must have "input" and "output", and of other keys only {sorted(CASE_KEYS - PAIR)}')
    names = {name for case in cases if (name := function_of(case))} | ({fields["fn_name"]} if "fn_name" in fields else set())
    if len(names) > 1:
        raise ValueError(f"the cases test several functions, {', '.join(sorted(names))}: give one row to each")
    called = {(case.get("testtype") or case.get("type") or (FUNCTIONAL[0] if names else "stdin")) in FUNCTIONAL for case in cases}
    if len(called) > 1 or (called == {True} and not names):
        raise ValueError('cases must all be called, with one "fn_name", or all read their input from stdin')
    read = (read_arguments, read_result) if called == {True} else (lambda value: value, lambda value: value)
    lists = {"inputs": [read[0](case["input"]) for case in cases], "outputs": [read[1](case["output"]) for case in cases]}
    rest = {key: value for key, value in fields.items() if key not in ("test_cases", "fn_name")}
    return rest | lists | ({"fn_name": names.pop()} if called == {True} else {})


def function_of(case: dict[str, Any]) -> str | None:
    """The function that a case names, itself or in its metadata."""
    metadata = case.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    found: str | None = case.get("fn_name") or metadata.get("func_name")
    return found


def read_arguments(text: object) -> object:
    """The arguments of one call: the JSON values of the lines, or the value itself where it is no text."""
    return [read_result(line) for line in text.splitlines() if line.strip()] if isinstance(text, str) else text


def read_result(text: object) -> object:
    """The value of a JSON text, or the value itself."""
    return read_long_json(text) if isinstance(text, str) else text
