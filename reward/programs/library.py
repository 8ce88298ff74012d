"""The library that graders of functions import before a program: its names, lent to programs that do not import them.

LeetCode's graders, and those of APPS, TACO and LiveCodeBench, put these imports before every program, so models leave them out.
"""

import builtins
import importlib
from collections.abc import Iterator
from types import CodeType

# Modules by name, then those whose public names are lent too; where two give a name, the first does.
MODULES = (
    "collections", "math", "heapq", "bisect", "itertools", "functools", "string", "random", "datetime", "re", "sys", "copy", "operator",
    "typing", "time", "json", "statistics", "fractions", "decimal", "queue", "dataclasses",
)  # fmt: skip
STARRED = ("collections", "functools", "itertools", "heapq", "bisect", "math", "string", "operator", "typing", "dataclasses")


def to_all(_: CodeType) -> bool:
    return True


def to_none(_: CodeType) -> bool:
    return False


def to_solutions(code: CodeType) -> bool:
    """A program with a class Solution, as LeetCode asks for it."""
    return "Solution" in code.co_names


def lend(code: CodeType) -> None:
    """Make the names of the library that a program uses built-ins of this process: its own names, and real built-ins, come first.

    They are no names of the program, so no test can find one of them where the program defines nothing.
    """
    for name in used_names(code) - set(dir(builtins)):
        if name in MODULES:
            setattr(builtins, name, importlib.import_module(name))
            continue
        for module in map(importlib.import_module, STARRED):
            if not name.startswith("_") and name in getattr(module, "__all__", vars(module)):
                setattr(builtins, name, getattr(module, name))
                break


def used_names(code: CodeType) -> set[str]:
    """The names that a program and its functions look up outside themselves, attributes among them."""
    return set(code.co_names).union(*map(used_names, inner_code(code)))


def inner_code(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))
