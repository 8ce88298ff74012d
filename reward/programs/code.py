"""The checker for programs: a response's code must pass the reference's tests, in the sandbox.

A program that fails a test, exceeds a limit or ends early is wrong (0.0). Raises (no reward) when an assert cannot run, the sandbox is
unavailable, or a process is killed from outside.
Expected results never enter the program's process: they are compared here, or in a process of the tester (`reward.programs.tester`).
"""

import functools
import json
from typing import Any

from reward.programs.code_reference import Asserts, Cases, read_fields, read_reference
from reward.programs.compare import same_result, same_text
from reward.programs.limits import CodeLimits
from reward.programs.response import find_program
from reward.programs.sandbox import Sandbox
from reward.programs.values import NotPlain, decode, encode, plain_or_refuse, refuse_export


class CodeChecker:
    """The checker with its limits and its sandbox, whose launcher lives as long as this. Used by one thread.

    Every run, call or test may take limits.timeout_s, and the first failure ends the rest unless limits.partial.
    """

    def __init__(self, limits: CodeLimits, sandbox: Sandbox | None = None) -> None:
        self.limits = limits
        self.sandbox = sandbox or Sandbox(limits)

    def __call__(self, response: str, reference: Any) -> float:
        """1.0 when all tests pass, else 0.0; the share that passes where limits.partial."""
        wanted = read_reference(reference)
        program = find_program(response, wanted.names)
        if isinstance(wanted, Asserts):
            passed, count = self._test(program, wanted), len(wanted.tests)
        else:
            passed, count = (self._print if wanted.function is None else self._call)(program, wanted), len(wanted.inputs)
        return passed / count if self.limits.partial else float(passed == count)

    def _print(self, program: str, cases: Cases) -> int:
        """How many inputs make the program print the expected output."""
        passed = 0
        for text, expected in zip(cases.inputs, cases.outputs, strict=True):
            result = self.sandbox.run(program, text)
            right = result.succeeded and same_text(result.stdout.decode(errors="replace"), expected, cases.tolerance)
            passed += right
            if not right and not self.limits.partial:
                break
        return passed

    def _call(self, program: str, cases: Cases) -> int:
        """How many calls return the expected result; a call that raises is the last."""
        verdicts: list[bool] = []
        wrapped = all(isinstance(output, list) and len(output) == 1 for output in cases.outputs)

        def hear(line: bytes) -> bool:
            if len(verdicts) == len(cases.outputs):
                return False
            expected = cases.outputs[len(verdicts)]
            try:
                verdicts.append(same_result(read_value(line), expected, wrapped, cases.tolerance))
            except (TypeError, ValueError, ArithmeticError, RecursionError, MemoryError):  # the program wrote no value
                verdicts.append(False)
            return verdicts[-1] or self.limits.partial

        write = lambda argument: encode(argument, refuse_export)  # noqa: E731
        calls = [
            [[], {name: write(value) for name, value in given.items()}] if isinstance(given, dict) else [list(map(write, given)), {}]
            for given in cases.inputs
        ]
        self.sandbox.call(program, cases.function or "", calls, hear)
        return sum(verdicts)

    def _test(self, program: str, wanted: Asserts) -> int:
        """How many tests raise nothing; ValueError where they cannot run at all.

        They cannot run where the setup raises, ends, or exceeds a limit: the program has not started then. Nor can they where a test ends,
        or exceeds a limit, before any test has used the program. After that, a value from the program may be the cause, such as a number of
        items to make or a text to print; so a test that ends without a verdict then counts as failed.
        """
        passed: list[bool] = []

        def hear(line: bytes) -> bool:
            said = json.loads(line)
            if "broken" in said:
                raise ValueError(f"the reference's tests cannot run: {said['broken']}")
            passed.append(said["passed"])
            return passed[-1] or self.limits.partial

        order: dict[str, Any] = {"setup": wanted.setup, "tests": wanted.tests, "names": wanted.names, "modules": wanted.modules}
        order |= {"entry_point": wanted.entry_point, "all": self.limits.partial}
        self.sandbox.test(program, wanted.prelude, order, hear)
        return sum(passed)


def read_value(line: bytes) -> Any:
    """The result of a call, as data; NotPlain where the program wrote something else."""
    said = json.loads(line)
    if not isinstance(said, dict) or said.keys() != {"value"}:
        raise NotPlain("not the result of a call")
    return decode(said["value"], plain_or_refuse)


@functools.cache
def default_checker() -> CodeChecker:
    return CodeChecker(CodeLimits())


def check_code(response: str, reference: Any) -> float:
    """The checker with the limits that a config has by default."""
    return default_checker()(response, reference)


def load_code(limits: CodeLimits) -> CodeChecker:
    """The checker with its launcher started; Unconfined (a ValueError) where this machine cannot hold a program."""
    checker = CodeChecker(limits)
    assert checker.sandbox.launcher
    return checker


def check_tests(reference: object) -> None:
    """Raise ValueError where the reference describes no tests that could run."""
    read_reference(reference)


def solution(reference: object) -> str | None:
    """The program that the reference says is right."""
    found: str | None = read_fields(reference).get("solution")
    return found
