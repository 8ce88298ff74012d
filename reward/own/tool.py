"""A function of the user's as a tool: imported once, called with the model's arguments, its result made text.

What the model can cause is a ValueError of the function, whose text the model gets. Any other exception is a failure without reward.
"""

import inspect
import json
from collections.abc import Callable
from functools import reduce
from typing import Any

from reward.number import has_one_number
from reward.own.awaited import Loop
from reward.own.function import describe_missing, functions_of
from reward.own.name import OwnCodeError, OwnName
from reward.own.source import import_own
from reward.own.tool_schema import schema_of
from reward.own.words import at_call, print_error, text_of
from reward.pool_tool import PoolTool, cut

QUOTED = 200


class OwnTool(PoolTool):
    """The tool that `entry` of `tools.use` names; it imports the code at `load`, or at its first call."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        self.file: str | None = None
        self.schema: dict[str, Any] = {}
        self._function: Callable[..., object] | None = None
        self._loop = Loop()

    @property
    def marks(self) -> list[str]:
        return [json.dumps(self.schema)]

    def load(self) -> None:
        """Import the code; OwnCodeError says what is wrong with it."""
        try:
            own = OwnName.read(self.entry)
            module = import_own(own)
        except OwnCodeError as error:  # its words are about checkers, which are imported in the same way
            raise OwnCodeError(str(error).replace("checker", "tool", 1)) from error.__cause__
        function = find_tool(own, module)
        self.file = getattr(module, "__file__", None)
        self.schema = schema_of(self.entry, function)
        self._function = function

    def call(self, arguments: dict[str, Any]) -> dict[str, str]:
        if self._function is None:
            self.load()
        assert self._function is not None
        try:
            result = self._loop.result(self._function(**arguments))
        except ValueError as error:
            return {"error": cut(text_of(error) or type(error).__name__)}
        return {"result": cut(text_of_result(result))}

    def describe(self, error: BaseException) -> str:
        return f"tool {self.entry!r}: {at_call(error, self.file)}"

    def report(self, error: BaseException, arguments: str) -> None:
        print_error(f"{self.entry} failed on the arguments {arguments[:QUOTED]}", error, self.file)


def find_tool(own: OwnName, module: Any) -> Callable[..., object]:
    """The function of an imported module; OwnCodeError where there is none of that name that can be a tool."""
    try:
        function: Any = reduce(getattr, own.function.split("."), module)
    except AttributeError:
        raise OwnCodeError(f"tool {own.whole!r}: {describe_missing(own, module)}") from None
    if not callable(function) or inspect.isclass(function):
        raise OwnCodeError(f"tool {own.whole!r} has the type {type(function).__name__}, needed a function; {functions_of(own, module)}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise OwnCodeError(f"tool {own.whole!r} has a `yield`, but a tool answers once: use `return`; an environment is a reward.checker")
    return function


def text_of_result(result: object) -> str:
    """What a function returned as text: texts as they are, None as "", other values as JSON; TypeError where there is no such value."""
    if isinstance(result, str):
        return result
    if result is None:
        return ""
    if has_one_number(result) and not isinstance(result, int | float):
        result = result.item() if hasattr(result, "item") else float(result)  # type: ignore[arg-type]
    try:
        return json.dumps(result, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"it returned {type(result).__name__}, needed a text or a JSON value ({error})") from None
