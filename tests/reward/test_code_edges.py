"""Programs as people end and guard them are right, and what a program brings or sends cannot judge it or burden its worker."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from reward.programs.code import CodeChecker
from reward.programs.code_reference import read_reference
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def code() -> Iterator[CodeChecker]:
    with Sandbox(CodeLimits(timeout_s=5)) as sandbox:
        yield CodeChecker(sandbox.limits, sandbox)


@pytest.mark.parametrize(
    ("program", "reference"),
    [
        ("print(5)\nexit()", {"inputs": [""], "outputs": ["5"]}),
        ("def main():\n    print(5)\n    quit(0)\nmain()", {"inputs": [""], "outputs": ["5"]}),
        ("import sys\nprint(5)\nsys.stdout.close()", {"inputs": [""], "outputs": ["5"]}),
        ("import sys\nprint(5)\nsys.stdout = None", {"inputs": [""], "outputs": ["5"]}),
        ("def f(x): return x + 1\nif __name__ == '__main__': print(f(int(input())))", ["assert f(1) == 2"]),
        ("def f(x): return x + 1\nif __name__ == '__main__': print(f(int(input())))", {"fn_name": "f", "inputs": [[1]], "outputs": [2]}),
        ("def f(x): return x + 1\nquit()", ["assert f(1) == 2"]),
        ("from collections import Counter\ndef f(x): return list(x)", ["assert Counter(f('aab')) == Counter('aba')"]),
        ("def sum(a, b): return a + b", ["assert sum(10, 15) == 25"]),
    ],
)
def test_endings_guards_and_helpers_of_ordinary_programs_are_no_faults(code: CodeChecker, program: str, reference: Any) -> None:
    assert code(program, reference) == 1.0


ALWAYS = "class B:\n    def __init__(self, *a, **k): pass\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 1\n"


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (ALWAYS + "set = B\ndef filter(*a): return 1", ["assert set(filter([1, 2, 3])) == set([1, 2])"]),
        (ALWAYS + "Counter = B\ndef f(x): return 1", ["assert Counter(f([1, 2])) == Counter([1, 2])"]),
        ("def isclose(*a, **k): return True\ndef f(x): return 1", ["assert isclose(f(2), 3.5)"]),
        ("class g(Exception): pass\ndef f(x): return 0", ["assert f(g(3)) == 3"]),
    ],
)
def test_helpers_that_a_program_brings_do_not_judge_it(code: CodeChecker, program: str, tests: list[str]) -> None:
    assert code(program, tests) == 0.0


def test_tests_of_built_ins_that_could_be_several_functions_are_refused() -> None:
    with pytest.raises(ValueError, match="call only built-ins"):
        read_reference(["assert abs(sum([1, 2]) - 3) < 1e-6"])


@pytest.mark.parametrize(
    "line",
    [
        '{"value":{"known":["collections","Counter",{"range":[0,10000000000,1]}]}}',
        '{"value":{"known":["collections","deque",{"range":[0,10000000000,1]}]}}',
        '{"value":{"known":["fractions","Fraction","1e300000000"]}}',
        '{"value":{"known":["zoneinfo","ZoneInfo","America"]}}',
        '{"value":{"known":["zoneinfo","ZoneInfo","No/Where"]}}',
        '{"value":{"known":["datetime","datetime",{"list":[]}]}}',
        '{"value":{"class":"exit"}}',
        '{"value":{"dict":[{"range":[0,10000000000,1]}]}}',
    ],
)
def test_a_crafted_result_costs_the_worker_nothing(code: CodeChecker, line: str) -> None:
    program = f"import os\nfor fd in range(3, 20):\n    try: os.write(fd, b{line!r} + b'\\n')\n    except OSError: pass\ndef f(x): return 0"
    started = time.monotonic()
    assert code(program, {"fn_name": "f", "inputs": [[1]], "outputs": [2]}) == 0.0
    assert time.monotonic() - started < 10
