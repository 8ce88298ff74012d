"""Values, imports and forms of tests that people use: each right program passes, and a wrong one beside it fails."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from reward.checkers import CHECKERS, check_reference
from reward.programs.code import CodeChecker
from reward.programs.compare import same_text, same_value
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)
DATE = "import datetime, zoneinfo, uuid\nfrom decimal import Decimal\nfrom fractions import Fraction\ndef f(x): return "
TEST = "from datetime import *\nimport datetime as dt, zoneinfo, uuid\nfrom decimal import Decimal\nfrom fractions import Fraction\n"
LIBRARY = "class Solution:\n    def f(self, a: List[int], b: Optional[int] = None) -> int:\n"
LENT = LIBRARY + "        h = list(a); heapify(h); c = Counter(a); d = collections.deque(a)\n        return heappop(h) + gcd(4, 6) + len(d)"


@pytest.fixture(scope="module")
def code() -> Iterator[CodeChecker]:
    with Sandbox(CodeLimits(timeout_s=5)) as sandbox:
        yield CodeChecker(sandbox.limits, sandbox)


@pytest.fixture(scope="module")
def without_prelude() -> Iterator[CodeChecker]:
    with Sandbox(CodeLimits(timeout_s=5, prelude=False)) as sandbox:
        yield CodeChecker(sandbox.limits, sandbox)


@pytest.mark.parametrize(
    ("result", "wanted", "wrong"),
    [
        ("datetime.date(2024, 2, 29)", "date(2024, 2, 29)", "date(2024, 2, 28)"),
        ("datetime.datetime(2024, 2, 29, 1, 2, 3, 4)", "datetime(2024, 2, 29, 1, 2, 3, 4)", "datetime(2024, 2, 29)"),
        (
            "datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)",
            "datetime(2024, 1, 1, tzinfo=timezone.utc)",
            "datetime(2024, 1, 1)",
        ),
        ("datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('UTC'))", "datetime(2024, 1, 1, tzinfo=timezone.utc)", "date(2024, 1, 1)"),
        ("datetime.time(1, 2)", "time(1, 2)", "time(2, 1)"),
        ("[datetime.timedelta(days=-1, seconds=5)]", "[timedelta(days=-1, seconds=5)]", "[timedelta(1)]"),
        ("{datetime.date(2024, 1, 1): 1}", "{date(2024, 1, 1): 1}", "{date(2024, 1, 2): 1}"),
        ("Decimal('0.10')", "Decimal('0.1')", "Decimal('0.2')"),
        ("Fraction(10 ** 5000, 3)", "Fraction(10 ** 5000, 3)", "Fraction(10 ** 5000, 7)"),
        ("(1 + 2j, {1}, b'x')", "(1 + 2j, {1}, b'x')", "(1 - 2j, {1}, b'x')"),
        ("uuid.UUID(int=5)", "uuid.UUID(int=5)", "uuid.UUID(int=6)"),
        ("10 ** 5000", "10 ** 5000", "10 ** 5000 + 1"),
        ("[type(x), ValueError]", "[int, ValueError]", "[bool, ValueError]"),
        ("{1: 2}.keys()", "{1}", "{2}"),
        ("str(7 ** 6000)", "str(7 ** 6000)", "str(7 ** 6001)"),
    ],
)
def test_results_are_compared_by_value(result: str, wanted: str, wrong: str, code: CodeChecker) -> None:
    assert code(DATE + result, [f"{TEST}assert f(0) == {wanted}"]) == 1.0
    assert code(DATE + result, [f"{TEST}assert f(0) == {wrong}"]) == 0.0


@pytest.mark.parametrize(("raised", "text"), [("KeyError('a')", "'a'"), ("ValueError('a b')", "a b")])
def test_errors_have_the_text_that_the_program_gave_them(raised: str, text: str, code: CodeChecker) -> None:
    test = "try:\n    f()\nexcept (KeyError, ValueError) as error:\n    found = str(error)\nassert found == {!r}"
    assert code(f"def f(): raise {raised}", [test.format(text)]) == 1.0
    assert code(f"def f(): raise {raised}", [test.format(f"{text}!")]) == 0.0


def test_dates_are_arguments_too(code: CodeChecker) -> None:
    program = "def f(a, b): return (b - a).days"
    assert code(program, ["import datetime\nassert f(datetime.date(2024, 1, 1), datetime.date(2024, 3, 1)) == 60"]) == 1.0


@pytest.mark.parametrize(
    ("result", "wanted", "wrong"),
    [
        ("datetime.date(2024, 2, 29)", "2024-02-29", "2024-02-28"),
        ("datetime.datetime(2024, 2, 29, 1)", "2024-02-29T01:00:00", "2024-02-29"),
        ("datetime.datetime(2024, 2, 29, 1)", "2024-02-29 01:00:00", "2024-02-29 02:00:00"),
        ("Decimal('0.1')", 0.1, 0.2),
        ("Fraction(1, 4)", 0.25, "1/5"),
        ("Fraction(1, 4)", "1/4", 1),
        ("range(3)", [0, 1, 2], [0, 1]),
        ("__import__('collections').deque('ab')", ["a", "b"], ["b", "a"]),
    ],
)
def test_results_that_json_cannot_write_equal_their_text_or_number(result: str, wanted: object, wrong: object, code: CodeChecker) -> None:
    reference = {"fn_name": "f", "inputs": [[0]]}
    assert code(DATE + result, {**reference, "outputs": [wanted]}) == 1.0
    assert code(DATE + result, {**reference, "outputs": [wrong]}) == 0.0


def test_long_numbers_are_read_and_printed(code: CodeChecker) -> None:
    nines = "9" * 5000
    assert code("print(int(input()) + 1)", {"inputs": [nines], "outputs": ["1" + "0" * 5000]}) == 1.0
    assert code("def f(x): return x + 1", f'{{"fn_name": "f", "inputs": [[{nines}]], "outputs": [1{"0" * 5000}]}}') == 1.0
    assert code("def f(x): return x", {"fn_name": "f", "inputs": [[10**5000]], "outputs": [10**5000 + 1]}) == 0.0
    assert code("def f(x): return x + 1", [f"assert f({nines}) == 1{'0' * 5000}"]) == 1.0
    assert not same_text(nines, "8" + nines[1:], 1e-6)
    assert not same_value(10**400, 1.5, 0.0)


@pytest.mark.parametrize(
    "reference",
    [
        {"fn_name": "f", "inputs": [[[3, 1]], {"a": [3, 1], "b": 2}], "outputs": [5, 5]},
        {"fn_name": "Solution().f", "inputs": [[[3, 1]]], "outputs": [5]},
        ["assert Solution().f([3, 1]) == 5"],
        {"test": "def check(candidate):\n    assert candidate(a = [3, 1], b = None) == 5", "entry_point": "Solution().f"},
    ],
)
def test_a_solution_uses_the_imports_that_its_graders_add(reference: Any, code: CodeChecker, without_prelude: CodeChecker) -> None:
    check_reference("code", reference)
    assert code(LENT, reference) == 1.0
    assert without_prelude(LENT, reference) == 0.0


@pytest.mark.parametrize(
    ("program", "reference", "right"),
    [
        ("def f(a): return pow(a, 2, 7) + sum([1])", {"fn_name": "f", "inputs": [[5]], "outputs": [5]}, True),  # built-ins stay
        ("def gcd(a, b): return 7\ndef f(a): return gcd(a, a)", {"fn_name": "f", "inputs": [[5]], "outputs": [7]}, True),
        ("def f(a): return deque(a)[0]\ndef deque(a): return [7]", {"fn_name": "f", "inputs": [[5]], "outputs": [7]}, True),
        (
            "try: List\nexcept NameError: List = list\ndef f(a: List[int]): return a",
            {"fn_name": "f", "inputs": [[5]], "outputs": [5]},
            True,
        ),
        ("", {"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2]}, False),
        ("class Solution: pass\nx = gcd(4, 6)", {"test": "def check(c): assert c(4, 6) == 2", "entry_point": "gcd"}, False),
        ("def f(a): return gcd(a, 6)", ["assert f(4) == 2"], False),
        ("print(gcd(4, 6))", {"inputs": [""], "outputs": ["2"]}, False),
    ],
)
def test_lent_imports_give_way_and_define_nothing(program: str, reference: Any, right: bool, code: CodeChecker) -> None:
    assert code(program, reference) == right


CASES = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}, {"input": "2 2\n", "output": "4\n", "testtype": "stdin"}]
CALLS = [{"input": "1\n2", "output": "3", "testtype": "functional"}, {"input": "[1]\n[2]", "output": "[1, 2]", "testtype": "functional"}]
PRINT = "a, b = map(int, input().split())\nprint(a + b)"
ADD = "def add(a, b): return a + b"


@pytest.mark.parametrize(
    ("program", "reference"),
    [
        (PRINT, CASES),
        (PRINT, json.dumps(CASES)),
        (PRINT, {"test_cases": json.dumps(CASES)}),
        (ADD, {"test_cases": CALLS, "fn_name": "add"}),
        (ADD, [{**case, "metadata": '{"func_name": "add"}'} for case in CALLS]),
        (ADD, {"test_cases": [{"input": [1, 2], "output": 3, "type": "function_call", "fn_name": "add"}]}),
        (
            PRINT,
            {"inputs": ["1 2"], "outputs": ["3"], "asserts": None, "fn_name": None, "tolerance": None, "setup": None, "solution": None},
        ),
        (ADD, {"inputs": None, "outputs": None, "asserts": ["assert add(1, 2) == 3"], "setup": None}),
        (ADD, {"inputs": [], "outputs": [], "test": "", "asserts": ["assert add(1, 2) == 3"], "setup": ""}),
        ("class Node: pass\ndef f(n): return n.x", {"asserts": ["assert f(n) == 1"], "setup": "n = Node()\nn.x = 1"}),
    ],
)
def test_every_form_of_tests_is_read(program: str, reference: Any, code: CodeChecker) -> None:
    check_reference("code", reference)
    assert code(program, reference) == 1.0
    assert code("x = 1", reference) == 0.0


def test_a_column_of_two_forms_has_its_solutions() -> None:
    for own in ({"inputs": ["1\n"], "outputs": ["2\n"]}, {"asserts": ["assert inc(1) == 2"]}):
        filled = {"inputs": None, "outputs": None, "asserts": None, "solution": "x = 1"} | own
        check_reference("code", filled)
        assert CHECKERS["code"].gold(filled) == "x = 1"
        assert CHECKERS["code"].gold(filled | {"solution": None}) is None


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ({"inputs": ["1"], "outputs": ["1"], "asserts": ["assert f()"]}, "tests of several forms, 'inputs' and 'asserts'"),
        ({"test_cases": []}, "not empty"),
        ([{"input": "1"}], 'must have "input" and "output"'),
        ([{"input": "1", "output": "1", "testtype": "functional"}], 'one "fn_name"'),
        ({"test": "def check(c): pass", "entry_point": "f(); import os"}, "entry_point"),
    ],
)
def test_tests_that_cannot_be_read_are_refused_with_the_reason(reference: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_reference("code", reference)
