"""What the checker `code` calls right and wrong, form by form, and which references it refuses."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from reward.checkers import CHECKERS, check_reference, get_checker
from reward.programs.code import CodeChecker
from reward.programs.code_reference import Asserts, read_reference
from reward.programs.limits import CodeLimits
from reward.programs.response import find_program
from reward.programs.run import Run
from reward.programs.sandbox import Sandbox
from reward.workers.pool import Item, RewardPool
from rollout.types import Outcome
from tests.toys.right_programs import ADD, ASSERTED

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def code() -> Iterator[CodeChecker]:
    with Sandbox(CodeLimits(timeout_s=5)) as sandbox:
        yield CodeChecker(sandbox.limits, sandbox)


def partly(code: CodeChecker) -> CodeChecker:
    return CodeChecker(CodeLimits(timeout_s=5, partial=True), code.sandbox)


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```python\nx = 1\n```\nor better\n```py\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 1\n```\nOutput:\n```\n1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```cpp\nint x;\n```", "int x;\n"),
        ("```Python3 title=a.py\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1", "x = 1"),
        ("  ```python\n  x = 1\n  ```", "x = 1\n"),
        ("```python\r\nx = 1\r\n```", "x = 1\r\n"),
        ("", ""),
        ("```python\n```", ""),
    ],
)
def test_the_program_of_a_response_is_its_last_block_of_python(response: str, program: str) -> None:
    assert find_program(response) == program


@pytest.mark.parametrize(
    ("printed", "wanted", "tolerance", "right"),
    [
        ("1 2", "1 2\n", 0, True),
        ("1 2  \n\n\n", "1 2", 0, True),
        ("a \nb\t\n", "a\nb", 0, True),
        ("1  2", "1 2", 0, False),
        (" 1", "1", 0, False),
        ("1\n\n2", "1\n2", 0, False),
        ("", "", 0, True),
        ("0.5", "0.50", 0, False),
        ("0.5", "0.50", 1e-6, True),
        ("x 0.3333333", "x 0.333333333", 1e-6, True),
        ("0.33", "0.333333", 1e-6, False),
        ("nan", "1", 1e-6, False),
        ("1 2", "1 2 3", 1e-6, False),
    ],
)
def test_what_is_printed_is_compared_without_outer_white_space(
    printed: str, wanted: str, tolerance: float, right: bool, code: CodeChecker
) -> None:
    reference = {"inputs": [""], "outputs": [wanted], "tolerance": tolerance}
    assert code(f"import sys\nsys.stdout.write({printed!r})", reference) == right


def test_inputs_may_be_lists_of_lines(code: CodeChecker) -> None:
    reference = {"inputs": [["1 2", "3 4"], "5 6\n"], "outputs": [["3", "7"], "11\n"]}
    assert code("import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))", reference) == 1.0


def test_printing_the_right_answer_and_failing_is_wrong(code: CodeChecker) -> None:
    assert code("print(5)\n1 / 0", {"inputs": [""], "outputs": ["5"]}) == 0.0


@pytest.mark.parametrize(
    ("program", "inputs", "outputs"),
    [
        (ADD, [[1, 2], ["a", "b"], [[1], [2]], [1.5, 2]], [3, "ab", [1, 2], 3.5]),
        ("class Solution:\n    def add(self, a, b): return a + b", [[1, 2]], [3]),
        ("from typing import List\nclass Solution:\n    def add(self, a: List[int]) -> int: return sum(a)", [[[1, 2]]], [3]),
        ("add = lambda *a: a", [[1, 2]], [[1, 2]]),
        ("def add(): return {1: 'x', 'y': None}", [[]], [{"1": "x", "y": None}]),
        ("def add(a): return a", [[10**40], [True], [None], ["é\ud800"]], [10**40, True, None, "é\ud800"]),
        ("def add(a, b): return a + b", [[1, 2], [2, 2]], [[3], [4]]),
        ("import collections\nP = collections.namedtuple('P', 'x y')\ndef add(a, b): return P(a, b)", [[1, 2]], [[1, 2]]),
        ("def add(a): print('noise'); return a", [[1]], [1]),
    ],
)
def test_a_function_is_called_and_its_results_are_compared(program: str, inputs: list[Any], outputs: list[Any], code: CodeChecker) -> None:
    assert code(program, {"fn_name": "add", "inputs": inputs, "outputs": outputs}) == 1.0


@pytest.mark.parametrize(
    ("result", "wanted"), [("1", True), ("True", 1), ("'1'", 1), ("{1}", [1]), ("1.0000001", 1.0), ("[1]", 1), ("None", 0), ("b'1'", "1")]
)
def test_a_result_that_only_resembles_is_wrong(result: str, wanted: object, code: CodeChecker) -> None:
    assert code(f"def f(): return {result}", {"fn_name": "f", "inputs": [[]], "outputs": [wanted]}) == 0.0


def test_numbers_may_differ_by_a_tolerance(code: CodeChecker) -> None:
    reference = {"fn_name": "f", "inputs": [[3]], "outputs": [[0.333333, "x"]]}
    assert code("def f(n): return (1 / n, 'x')", reference) == 0.0
    assert code("def f(n): return (1 / n, 'x')", reference | {"tolerance": 1e-5}) == 1.0


@pytest.mark.parametrize(("program", "reference"), ASSERTED)
def test_a_right_program_passes_asserts(program: str, reference: object, code: CodeChecker) -> None:
    check_reference("code", reference)
    assert code(program, reference) == 1.0


def test_a_wrong_program_fails_asserts(code: CodeChecker) -> None:
    for program, reference in (
        ("def add(a, b): return a - b", ["assert add(1, 2) == 3"]),
        ("def sub(a, b): return a", ["assert add(1, 2) == 3"]),
        ("def add(a): return a", ["assert add(1, 2) == 3"]),
        ("", ["assert add(1, 2) == 3"]),
        (
            "def check(x): pass\ndef add(a, b): return 0",
            {"test": "def check(candidate):\n    assert candidate(1, 2) == 3", "entry_point": "add"},
        ),
        ("def sum(a, b): return 0\ndef add(*a): return 1", ["assert add(2) == sum([2])"]),
    ):
        assert code(program, reference) == 0.0


def test_a_share_of_the_tests_counts_only_where_it_is_asked_for(code: CodeChecker) -> None:
    half = "def add(a, b): return 3"
    asserts = ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 3) == 3", "assert add(9, 9) == 18"]
    calls = {"fn_name": "add", "inputs": [[1, 2], [2, 2], [0, 3], [9, 9]], "outputs": [3, 4, 3, 18]}
    prints = {"inputs": ["1 2", "2 2", "0 3", "9 9"], "outputs": ["3", "4", "3", "18"]}
    for program, reference in ((half, asserts), (half, calls), ("print(3)", prints)):
        assert code(program, reference) == 0.0
        assert partly(code)(program, reference) == 0.5


def test_the_first_failure_ends_the_runs(code: CodeChecker, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = Run.start
    monkeypatch.setattr(Run, "start", lambda self, kind, *a, **k: started.append(kind) or start(self, kind, *a, **k))
    assert code("print(0)", {"inputs": ["", "", ""], "outputs": ["1", "1", "1"]}) == 0.0
    assert started == ["script"]


def test_tests_that_cannot_run_are_an_error_and_not_a_wrong_program(code: CodeChecker) -> None:
    for reference, why in (
        (["import no_such_module\nassert add(1, 2) == 3"], "cannot run: ModuleNotFoundError"),
        ({"asserts": ["assert add(1, 2) == 3"], "setup": "1 / 0"}, "setup raises ZeroDivisionError"),
        (["class Mine: pass\nassert add(Mine(), 2) == 3"], "hands the program an object of type Mine"),
    ):
        with pytest.raises(ValueError, match=why):
            code(ADD, reference)


SHORT = CodeLimits(timeout_s=0.4, output_kb=256)


@pytest.fixture(scope="module")
def short() -> Iterator[CodeChecker]:
    with Sandbox(SHORT) as sandbox:
        yield CodeChecker(SHORT, sandbox)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ({"asserts": ["assert add(1, 2) == 3"], "setup": "import time; time.sleep(6)"}, "setup ends by time"),
        ({"asserts": ["assert add(1, 2) == 3"], "setup": "import os; os._exit(0)"}, "setup ends by exited"),
        ({"asserts": ["assert add(1, 2) == 3"], "setup": "print('x' * 3000000)"}, "setup ends by output"),
        (["import time; time.sleep(6)\nassert add(1, 2) == 3"], "a test, before .* ends by time"),
        (["import os; os._exit(0)\nassert add(1, 2) == 3"], "a test, before .* ends by exited"),
        (["x = bytes(700 << 20)\nassert add(1, 2) == 3"], "cannot run: MemoryError"),
        (["print('x' * 3000000)\nassert add(1, 2) == 3"], "a test, before .* ends by output"),
    ],
)
def test_tests_that_break_themselves_are_an_error_and_not_a_wrong_program(reference: object, why: str, short: CodeChecker) -> None:
    with pytest.raises(ValueError, match=f"tests cannot run: .*{why}|{why}"):
        short(ADD, reference)


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("import time\ntime.sleep(9)\ndef f(): return 1", "assert f() == 1"),
        ("import time\ndef f(): time.sleep(9)", "assert f() == 1"),
        ("import os\nos._exit(0)", "assert f() == 1"),
        ("def f(): return 10 ** 10", "assert bytes(f()) == b''"),
        ("def f(): return 3000000", "print('x' * f())\nassert f() == 1"),
        ("f = 10 ** 10", "assert bytes(f) == b''"),
        ("f = 3000000", "print('x' * f)\nassert f == 1"),
        ("def f(): return 9", "import time\ntime.sleep(f())"),
        ("def f(): return 9", "import os\nif f() != 1: os._exit(0)"),
    ],
)
def test_a_program_cannot_make_tests_that_run_look_broken(program: str, test: str, short: CodeChecker) -> None:
    assert short(program, [test]) == 0.0


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (None, "got NoneType"),
        (5, "got int"),
        ("5", "got int"),
        ("five", "not JSON"),
        ({}, "holds no tests"),
        ([], "not empty"),
        ([""], "not empty"),
        ([1], "texts of Python"),
        ({"input": []}, "unknown keys"),
        ({"inputs": [], "outputs": []}, "not empty"),
        ({"inputs": ["1"], "outputs": []}, "same length"),
        ({"inputs": ["1"]}, "same length"),
        ({"inputs": [1], "outputs": ["1"]}, "a text or a list of lines"),
        ({"inputs": ["1"], "outputs": ["1"], "tolerance": 2}, "tolerance"),
        ({"inputs": [1], "outputs": [1], "fn_name": "f"}, "list of arguments"),
        ({"inputs": [[1]], "outputs": [1], "fn_name": "a b"}, "name of a function"),
        (["assert add(1,"], "test 0 is not Python"),
        (["assert 1 == 1"], "nothing that a program could define"),
        ({"asserts": ["assert f()"], "setup": "("}, "setup is not Python"),
        (["from torch import *\nassert f()"], "name what they use"),
        ({"test": "def check(c): pass"}, "entry_point"),
        ({"test": "assert True", "entry_point": "add"}, "must define the function check"),
        ({"asserts": ["assert f()"], "solution": 1}, "text of a program"),
    ],
)
def test_a_reference_without_tests_is_refused_with_the_reason(reference: object, why: str) -> None:
    with pytest.raises(ValueError, match=f"checker 'code': .*{why}"):
        check_reference("code", reference)


def test_the_names_a_program_must_define_are_read_from_the_tests() -> None:
    for tests, setup, names in (
        ("assert abs(f(1) - 2) < 1e-6", "", ["f"]),
        ("assert max(1, 2) == 2", "", ["max"]),
        ("import os\nx = [g(i) for i in range(3)]\nassert len(x) == math.floor(h)", "", ["g", "h"]),
        ("from math import *\nassert sqrt(f(1)) == pi", "", ["f"]),
        ("assert same(f(1), Node(1))", "def same(a, b): return a == b\nclass Node: pass", ["Node", "f"]),
    ):
        wanted = read_reference({"asserts": [tests], "setup": setup})
        assert isinstance(wanted, Asserts)
        assert wanted.names == names
    assert wanted.prelude == "class Node:\n    pass"


def test_a_reference_may_be_a_text_and_carry_its_solution(code: CodeChecker) -> None:
    reference = json.dumps({"asserts": ["assert add(1, 2) == 3"], "solution": ADD})
    gold = CHECKERS["code"].gold(reference)
    assert gold == ADD
    assert code(gold, reference) == get_checker("code").score(gold, reference) == 1.0
    assert CHECKERS["code"].gold(["assert add(1, 2) == 3"]) is None


def test_the_pool_scores_programs_with_its_own_limits_of_code() -> None:
    async def score(items: list[Item]) -> list[Any]:
        async with RewardPool(workers=1, timeout_s=20, memory_mb=4096, limits=CodeLimits(timeout_s=0.3, partial=True)) as pool:
            return await pool.score(items)

    tests = ["assert add(1, 2) == 3", "assert add(1, 3) == 4"]
    programs = {ADD: tests, "def add(a, b): return 3": tests, "while True: pass": tests, "import os\nos.kill(os.getppid(), 9)": tests}
    items = [Item(checker="code", response=program, reference=reference) for program, reference in programs.items()]
    verdicts = asyncio.run(score([*items, Item(checker="code", response=ADD, reference=["import torch\nassert add(1, 2) == 3"])]))
    assert [verdict.reward for verdict in verdicts] == [1.0, 0.5, 0.0, 0.0, None]
    assert verdicts[-1].outcome is Outcome.UNSCORABLE
    assert "cannot run" in (verdicts[-1].failure or "")
