"""The tester: runs a data set's tests in a process of its own, where the program's names are handles of another process's objects.

A program cannot reach the verdict: it sees the arguments of calls and nothing else, neither expected results nor `assert` nor the report.
"""

import builtins
import importlib
import inspect
import json
import os
from collections.abc import Callable
from typing import Any

from reward.processes.descriptors import write_all
from reward.programs.handle import CoroutineHandle, Handle
from reward.programs.link import Gone, Link
from reward.programs.values import Json, decode, encode

READY = b'{"ready": true}'  # the setup has run, the program may start
OWN = b'{"own": true}'  # the program's names are functions and classes, so no value of it can have influenced a test yet
SHARED = b'{"own": false}'  # a test uses the program for the first time


class Broken(BaseException):
    """The tests need something that cannot be done between two processes."""


class Tester:
    """The tester's end of the link, and its knowledge of the program."""

    def __init__(self, channel: int, say: Callable[[bytes], None]) -> None:
        self.link = Link(channel, self.obey)
        self.say = say
        self.own = False  # a sudden end now is the tests' fault: no test has used the program yet
        self.steered = False  # a name of the program's is more than a handle, so it may influence a test
        self.given: list[Callable[..., Any]] = []
        self.errors: dict[str, type[Exception]] = {}
        self.revealed = False  # the program may know an expected result
        self.raised: list[Exception] = []  # exceptions of the program, not of the tests

    def name(self, name: str, into: dict[str, Any]) -> None:
        """Bind one of the program's names; a class of exceptions becomes one of our own, so that `except` knows it."""
        answer = self.link.ask({"do": "name", "name": name})
        self.steered |= answer.keys() != {"ok"} or not isinstance(answer["ok"], dict) or answer["ok"].get("plain", 0) is not None
        if "missing" in answer:
            return
        if "mro" in answer:
            into[name] = self.errors[name] = type(name, (self.exception(answer["mro"]),), {})
        else:
            into[name] = self.result(answer)

    def ask(self, message: Json) -> Json:
        if self.own:
            self.own = False
            self.say(SHARED)
        return self.link.ask(message)

    def call(self, function: Handle, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a function of the program's; lists that it changed without returning anything are changed here too."""
        packed = {"arguments": [self.pack(a) for a in arguments], "named": {name: self.pack(value) for name, value in named.items()}}
        answer = self.ask({"do": "call", "handle": function._handle_number, **packed})
        result = self.result(answer)
        if "changed" in answer:
            for mine, theirs in zip(arguments, self.read(answer["changed"]), strict=False):
                replace_content(mine, theirs)
        return result

    def do(self, what: str, *arguments: Any, keep: bool = False) -> Any:
        """One of handle.DOABLE; keep: the result stays with the program, which has seen some of a test's data."""
        result = self.result(self.ask({"do": what, "arguments": [self.pack(argument) for argument in arguments], "keep": keep}))
        if keep:
            self.revealed = True
            return Handle(self, result._handle_number, None, computed=True)
        return result

    def pack(self, value: Any) -> Json:
        return encode(value, self.export)

    def export(self, value: Any, plain: Json) -> Json:
        """The JSON for one of our objects: a handle, a function that may be called, or the name of a built-in."""
        if type(value) in (Handle, CoroutineHandle):
            return {"handle": value._handle_number}
        if inspect.iscoroutinefunction(value):
            raise Broken(f"a test hands the program the async function {value.__name__}, which cannot be awaited outside the tester")
        if callable(value):
            name = getattr(value, "__name__", "")
            if getattr(builtins, name, None) is value:
                return {"callback": name}
            self.given.append(value)
            return {"callback": len(self.given) - 1}
        if plain is not None:
            return plain
        if isinstance(value, tuple(self.errors.values())):  # the program made this class an exception, and must not profit from that
            raise TypeError(f"an object of {type(value).__name__} cannot be sent")
        raise Broken(f"a test hands the program an object of type {type(value).__name__}, which cannot leave the tester")

    def obey(self, order: Json) -> Json:
        """Call one of our functions for the program."""
        try:
            function = self.given[order["number"]]
            return {"ok": self.pack(function(*self.read({"list": order["arguments"]})))}
        except (Exception, Broken) as error:  # a program that calls with strange arguments gets the error
            return {"error": {"mro": [type(error).__name__], "text": str(error)}}

    def result(self, answer: Json) -> Any:
        """The value of an answer; raises the program's exception as one of the same built-in class."""
        if "error" in answer:
            error = answer["error"]
            raised = self.exception(error["mro"])(str(error["text"])[:1000])
            self.raised.append(raised)
            raise raised
        return self.read(answer["ok"])

    def read(self, data: Json) -> Any:
        try:
            return decode(data, self.take)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            raise Gone(f"the program sent no value: {error}") from None

    def take(self, data: Json) -> Handle:
        plain = data.get("plain")
        kind = CoroutineHandle if data.get("coroutine") is True else Handle
        return kind(self, int(data["handle"]), None if plain is None else decode(plain, self.take))

    def exception(self, names: list[str]) -> type[Exception]:
        for name in names:
            found = self.errors.get(name) or getattr(builtins, name, None)
            if isinstance(found, type) and issubclass(found, Exception):
                return found
        return Exception


def replace_content(mine: Any, theirs: Any) -> None:
    """Make a list, dict or set hold what another of its type holds."""
    if type(mine) is type(theirs) and theirs is not None and mine != theirs:
        mine.clear()
        (mine.extend if isinstance(mine, list) else mine.update)(theirs)


def run_tests(source: int, channel: int, answers: int) -> None:
    """Run the tests that the descriptor `source` holds, in their order, and write a line about each to `answers`.

    source: {"setup", "tests", "names", "modules", "entry_point", "all"}: names are the program's, modules are imported, and unless "all"
    the first test that fails is the last. Lines: {"passed": ..., "why": ...}, or {"broken": ...} where the tests themselves do not run, and
    READY, OWN and SHARED, which say whose fault a sudden end would be.
    """
    with open(source, "rb") as file:
        order = json.loads(file.read())
    say = lambda line: write_all(answers, line + b"\n")  # noqa: E731
    report = lambda **line: say(json.dumps(line).encode())  # noqa: E731
    names: dict[str, Any] = {"__name__": "__tests__"} | {name: importlib.import_module(name) for name in order["modules"]}
    try:
        exec(compile(order["setup"], "setup", "exec"), names)
    except BaseException as error:
        report(broken=f"the tests' setup raises {type(error).__name__}: {error}")
        return
    say(READY)
    tester = Tester(channel, say)
    for test in order["tests"]:
        try:
            bind(tester, order, names)
            exec(compile(test, "test", "exec"), names)
            if order["entry_point"]:
                names["check"](eval(order["entry_point"], names))
        except BaseException as error:  # a test fails with any exception
            broken = (Broken, ImportError, MemoryError) if tester.own else (Broken, ImportError)
            if isinstance(error, broken) and not any(error is raised for raised in tester.raised):
                report(broken=f"{type(error).__name__}: {error}")
                return
            report(passed=False, why=f"{type(error).__name__}: {error}"[:500])
            if tester.revealed or not order["all"]:
                os._exit(0)
        else:
            report(passed=True, why="")


def bind(tester: Tester, order: Json, names: dict[str, Any]) -> None:
    """Bind the program's names, once it has run; the first test waits for that."""
    if not order["names"]:
        return
    while order["names"]:
        tester.name(order["names"][0], names)
        order["names"].pop(0)
    if not tester.steered:
        tester.own = True
        tester.say(OWN)
