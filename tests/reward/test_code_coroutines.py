"""Coroutines of a program: a test awaits them, alone and in a loop of its own, and a wrong result beside a right one fails."""

from collections.abc import Iterator

import pytest

from reward.programs.code import CodeChecker
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)
PROGRAM = """
import asyncio

async def f(x):
    await asyncio.sleep(0)
    return x + 1

async def items(n):
    for number in range(n):
        yield number

async def fails(x):
    raise ValueError(x)

class Opened:
    async def __aenter__(self):
        return 5

    async def __aexit__(self, *error):
        return None
"""
WITH = "async def use():\n    async with Opened() as found:\n        return found\n"


@pytest.fixture(scope="module")
def code() -> Iterator[CodeChecker]:
    with Sandbox(CodeLimits(timeout_s=5)) as sandbox:
        yield CodeChecker(sandbox.limits, sandbox)


@pytest.mark.parametrize(
    "test",
    [
        "assert asyncio.run(f(1)) == 2",
        "assert asyncio.get_event_loop().run_until_complete(f(1)) == 2",
        "async def use():\n    return await asyncio.gather(f(1), asyncio.wait_for(f(2), 1))\nassert asyncio.run(use()) == [2, 3]",
        "async def use():\n    return [item async for item in items(2)]\nassert asyncio.run(use()) == [0, 1]",
        f"{WITH}assert asyncio.run(use()) == 5",
        "try:\n    asyncio.run(fails(2))\nexcept ValueError as error:\n    found = str(error)\nassert found == '2'",
    ],
)
def test_a_test_awaits_what_a_program_defines(test: str, code: CodeChecker) -> None:
    right, _, result = test.rpartition("== ")
    assert code(PROGRAM, [f"import asyncio\n{test}"]) == 1.0
    assert code(PROGRAM, [f"import asyncio\n{right}== [{result}]"]) == 0.0


def test_a_coroutine_that_nobody_awaits_equals_nothing(code: CodeChecker) -> None:
    assert code(PROGRAM, ["assert f(1) == 2"]) == 0.0


def test_a_test_that_hands_over_an_async_function_cannot_run(code: CodeChecker) -> None:
    with pytest.raises(ValueError, match=r"tests cannot run.*async function g"):
        code(PROGRAM, ["import asyncio\nasync def g(x):\n    return x\nassert asyncio.run(f(g)) == 2"])


def test_the_result_of_a_call_is_awaited(code: CodeChecker) -> None:
    assert code(PROGRAM, {"fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}) == 1.0
    assert code(PROGRAM, {"fn_name": "f", "inputs": [[1]], "outputs": [1]}) == 0.0
