"""References of the checker `code`: the forms in which data sets write unit tests, read into one of three kinds.

```
stdin      {"inputs": ["1 2\\n", ...], "outputs": ["3\\n", ...], "tolerance": 1e-6}     a text, or a list of lines, for each run
function   {"fn_name": "add", "inputs": [[1, 2], {"a": 1, "b": 2}, ...], ...}             also a method of a class Solution
asserts    ["assert add(1, 2) == 3", ...]  or  {"asserts": [...], "setup": "..."}       or {"test_list": [...]}
           {"test": "def check(candidate): ...", "entry_point": "add"}                  or "entry_point": "Solution().add"
cases      [{"input": "1 2\\n", "output": "3\\n"}, ...]  or  {"test_cases": [...]}      see `reward.programs.case_list`
```
Any of the objects may carry "solution", a program that must pass. A reference may also be such an object as a JSON text. A key that is
null is left out; nulls within inputs and outputs are None.
"""

import ast
import builtins
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.digits import any_digits, read_long_json
from configs.json_cell import from_json, why_not_json
from reward.given import without_nulls
from reward.programs.case_list import as_lists, is_case_list

# Built-ins that tests put around a program's result.
WRAPPERS = {
    "abs", "all", "any", "bool", "bytes", "dict", "enumerate", "float", "format", "frozenset", "int", "isinstance", "iter", "len", "list",
    "map", "max", "min", "next", "print", "range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip",
}  # fmt: skip
# Names of the standard library by module: tests often use them without an import, because the original programs imported them.
STANDARD = {
    name: module
    for module in ("copy", "functools", "itertools", "math", "collections")
    for name in vars(importlib.import_module(module))
    if not name.startswith("_")
}
LISTS = ("inputs", "outputs", "asserts", "test_list")
ENTRY = re.compile(r"([A-Za-z_]\w*)(\(\))?(\.[A-Za-z_]\w*)*")  # f, Solution().f, Tools.f
FORM_KEYS = (("inputs", "outputs"), ("asserts",), ("test_list",), ("test",), ("test_cases",))
KEYS = {"tolerance", "fn_name", "setup", "entry_point", "solution"}.union(*FORM_KEYS)
FORMS = '{"inputs", "outputs"}, {"fn_name", "inputs", "outputs"}, a list of asserts, {"asserts", "setup"} or {"test", "entry_point"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Inputs and expected outputs."""

    inputs: list[Any]
    outputs: list[Any]
    function: str | None = None  # None: the inputs are texts on stdin, the outputs are printed
    tolerance: float = 0.0  # of numbers; relative to the larger one, and absolute

    @property
    def names(self) -> list[str]:
        """That the program must define."""
        return [self.function] if self.function else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Asserts:
    """Pieces of Python that must not raise."""

    tests: list[str]
    setup: str = ""
    entry_point: str | None = None  # the name of the function that `check` is called with
    names: list[str]  # that the program must define
    modules: list[str] = field(default_factory=list)  # of the standard library that the tests use without an import

    @property
    def prelude(self) -> str:
        """The part of the setup that the program may see: imports and classes, not the functions that judge it."""
        seen: list[ast.stmt] = [node for node in ast.parse(self.setup).body if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)]
        return ast.unparse(ast.Module(seen, []))


def read_reference(reference: object) -> Cases | Asserts:
    """The tests that a reference describes; ValueError where it describes none."""
    fields = read_fields(reference)
    if "inputs" in fields or "outputs" in fields:
        return read_cases(fields)
    if "test" in fields:
        entry = fields.get("entry_point")
        if not isinstance(entry, str) or not ENTRY.fullmatch(entry):
            raise ValueError(f'"test" needs "entry_point", the name of the function that check(candidate) tests; got {entry!r}')
        return read_tests([fields["test"]], fields.get("setup", ""), entry)
    asserts = fields.get("asserts", fields.get("test_list"))
    if asserts is None:
        raise ValueError(f"reference holds no tests: its keys are {sorted(fields)}; use {FORMS}")
    return read_tests(asserts, fields.get("setup", ""), None)


def read_fields(reference: object) -> dict[str, Any]:
    """The reference as an object with known keys, none of them null, and tests of one form."""
    if isinstance(reference, str):
        text = reference
        try:
            reference = read_long_json(text)
        except ValueError as error:
            raise ValueError(f"reference is {why_not_json(text)}: use {FORMS}") from error
    if isinstance(reference, list):
        reference = {"test_cases" if is_case_list(reference) else "asserts": reference}
    if not isinstance(reference, dict):
        raise ValueError(f"reference must be {FORMS}; got {type(reference).__name__}")
    fields = {key: _listed(key, value) for key, value in without_nulls(reference).items()}
    if unknown := set(fields) - KEYS:
        raise ValueError(f"reference has unknown keys {sorted(unknown)}: known are {sorted(KEYS)}")
    if not isinstance(fields.get("solution", ""), str):
        raise ValueError('"solution" must be the text of a program')
    filled = [keys for keys in FORM_KEYS if any(fields.get(key) for key in keys)]
    if len(filled) > 1:
        raise ValueError(f"reference holds tests of several forms, {filled[0][0]!r} and {filled[1][0]!r}: give one of them")
    empty = {key for keys in FORM_KEYS if filled and keys not in filled for key in keys}
    fields = {key: value for key, value in fields.items() if key not in empty}
    return as_lists(fields) if "test_cases" in fields else fields


def _listed(key: str, value: object) -> object:
    """The value of a key; where only a list can stand, the list that a text spells out as JSON."""
    found = from_json(value) if key in LISTS and isinstance(value, str) else None
    return found if isinstance(found, list) else value


def read_cases(fields: dict[str, Any]) -> Cases:
    """Inputs and outputs, one of each for every case."""
    inputs, outputs, name = fields.get("inputs"), fields.get("outputs"), fields.get("fn_name")
    tolerance = fields.get("tolerance", 0.0)
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs or len(inputs) != len(outputs):
        raise ValueError('"inputs" and "outputs" must be lists of the same length, and not empty')
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise ValueError(f'"tolerance" must be a number from 0 to 1, got {tolerance!r}')
    if name is None:
        texts = [[as_text(side, index, value) for index, value in enumerate(fields[side])] for side in ("inputs", "outputs")]
        return Cases(inputs=texts[0], outputs=texts[1], tolerance=tolerance)
    name = name.removeprefix("Solution().").removeprefix("Solution.") if isinstance(name, str) else name
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f'"fn_name" must be the name of a function, got {name!r}')
    if wrong := [index for index, arguments in enumerate(inputs) if not isinstance(arguments, list | dict)]:
        raise ValueError(
            f'with "fn_name", each of "inputs" must be the list of arguments of one call, or an object of named ones; '
            f"number {wrong[0]} is not"
        )
    return Cases(inputs=inputs, outputs=outputs, function=name, tolerance=tolerance)


def as_text(side: str, index: int, value: object) -> str:
    """A text, or lines that are joined."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(f"{line.rstrip(chr(10))}\n" for line in value)
    if not isinstance(value, str):
        raise ValueError(f'without "fn_name", each of "{side}" must be a text or a list of lines; number {index} is {value!r:.100}')
    return value


def read_tests(tests: object, setup: object, entry: str | None) -> Asserts:
    """Tests that compile, and the names that they expect of the program."""
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) and test.strip() for test in tests):
        raise ValueError(f"tests must be a list of texts of Python, and not empty; got {tests!r:.200}")
    if not isinstance(setup, str):
        raise ValueError(f'"setup" must be a text of Python, got {setup!r:.100}')
    trees = []
    for what, text in [("setup", setup), *((f"test {number}", text) for number, text in enumerate(tests))]:
        try:
            with any_digits():
                trees.append(ast.parse(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{what} is not Python ({error}): {text[:200]!r}") from error
    names, modules = needed_names(trees[0], trees[1:], entry)
    if not names:
        raise ValueError(f"the tests use nothing that a program could define: {tests[0][:200]!r}")
    setup, late = split_setup(trees[0], setup, names)
    tests = [f"{late}\n{tests[0]}", *tests[1:]] if late else tests
    if entry is not None and "check" not in stored(trees[1]):
        raise ValueError('"test" must define the function check(candidate)')
    borrowed = {name: STANDARD[name] for name in names if name in STANDARD}
    if names - set(borrowed):  # helpers of the standard library that the tests forgot to import; the program need not define them
        names -= set(borrowed)
        setup = "".join(f"from {module} import {name}\n" for name, module in sorted(borrowed.items())) + setup
    return Asserts(tests=tests, setup=setup, entry_point=entry, names=sorted(names), modules=sorted(modules))


def needed_names(setup: ast.Module, tests: Sequence[ast.Module], entry: str | None) -> tuple[set[str], set[str]]:
    """Names that the tests use and neither they nor the setup define: (the program's, with classes of the setup; modules).

    A name of a built-in means the built-in, unless the tests use no other name that could be the program's:
    `assert sum(10, 15) == 25` tests a `sum` of the program's. A name of a standard module means the module where its attributes are used.
    """
    nodes = [node for tree in (setup, *tests) for node in ast.walk(tree)]
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    bases = {node.value.id for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)}
    defined = {name for tree in (setup, *tests) for name in stored(tree)}
    classes = {node.name for node in setup.body if isinstance(node, ast.ClassDef)}
    free = loaded - defined
    modules = {name for name in free & bases if name in sys.stdlib_module_names} - called
    wanted = {name for name in free - modules if not hasattr(builtins, name)} | ({entry_root(entry)} if entry else set())
    return (wanted or the_only(free & called)) | (classes & loaded), modules


def entry_root(entry: str) -> str:
    """The name in an entry point that the program must define."""
    found = ENTRY.match(entry)
    assert found
    return found[1]


def split_setup(tree: ast.Module, text: str, names: set[str]) -> tuple[str, str]:
    """The setup without its statements from the first on that uses a name of the program's, and those, which run when it is bound."""
    own = names - stored(tree)
    for number, node in enumerate(tree.body):
        uses = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and uses & own:
            parts = (tree.body[:number], tree.body[number:])
            return ast.unparse(ast.Module(parts[0], [])), ast.unparse(ast.Module(parts[1], []))
    return text, ""


def the_only(called: set[str]) -> set[str]:
    """The built-in that the program must define where tests use only built-ins; ValueError where there are several candidates."""
    found = called if len(called) <= 1 else called - WRAPPERS
    if called and len(found) != 1:
        raise ValueError(
            f"the tests call only built-ins ({', '.join(sorted(called))}), so it is unknown which of them the program must define: "
            'rename the function, or give {"test": ..., "entry_point": ...}'
        )
    return found


def stored(tree: ast.Module) -> set[str]:
    """Every name that a piece of Python binds, in any scope."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                found.add(name)
            case ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ImportFrom(module=str(module), names=[ast.alias(name="*")]):
                found |= public_names(module)
            case ast.alias(name=name, asname=other):
                found.add(other or name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)):
                found.add(name)
    return found


def public_names(module: str) -> set[str]:
    """The names that `from module import *` binds; ValueError for a module outside the standard library."""
    if module.partition(".")[0] not in sys.stdlib_module_names:
        raise ValueError(f"the tests import * from {module}: name what they use of it")
    found = importlib.import_module(module)
    return set(getattr(found, "__all__", None) or (name for name in dir(found) if not name.startswith("_")))
