"""A function of the user's as a checker: imported once, called with (response, reference), its result made a number."""

import inspect
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from functools import reduce
from types import ModuleType
from typing import Any

from reward.own.name import OwnCodeError, OwnName
from reward.own.number import number_of
from reward.own.source import import_own
from reward.own.words import at_call, hidden_by_ours, named, own_frame

SHOWN_FRAMES = 20
QUOTED = 200


class OwnFunction:
    """The `score` of a checker of the user's; it imports the code at `load`, or at its first call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file: str | None = None
        self._function: Callable[[str, Any], object] | None = None

    def load(self) -> None:
        """Import the code; OwnCodeError says what is wrong with it. Python imports a module once, however often this is called."""
        own = OwnName.read(self.name)
        module = import_own(own)
        self.file = getattr(module, "__file__", None)
        self._function = find_function(own, module)

    def __call__(self, response: str, reference: Any) -> float:
        """The reward; raises what the function raises, and TypeError where its result is no number."""
        if self._function is None:
            self.load()
        assert self._function is not None
        return number_of(self._function(response, reference))

    def describe(self, error: BaseException) -> str:
        """An error of a call in words, with the line of the user's file where it came from, and what to do where that is known."""
        return at_call(error, self.file)

    def report(self, error: BaseException, response: str) -> None:
        """Print the error's last frames to stderr, which the pool writes to its log."""
        shown = "".join(traceback.format_exception(error, limit=-SHOWN_FRAMES)) if own_frame(error, self.file) else f"{named(error)}\n"
        print(f"{self.name} failed on the response {response[:QUOTED]!r}:\n{shown}", file=sys.__stderr__, end="", flush=True)


def find_function(own: OwnName, module: ModuleType) -> Callable[[str, Any], object]:
    """The function of an imported module; OwnCodeError where there is none of that name, or none of (response, reference)."""
    try:
        function: Any = reduce(getattr, own.function.split("."), module)
    except AttributeError:
        raise OwnCodeError(f"checker {own.whole!r}: {describe_missing(own, module)}") from None
    if not callable(function):
        raise OwnCodeError(f"checker {own.whole!r} is a {type(function).__name__}, no function; {functions_of(own, module)}")
    if inspect.isclass(function):
        raise OwnCodeError(
            f"checker {own.whole!r} is a class, and to call it makes an object, no number: write a function, or name an object of the class"
        )
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):
        raise OwnCodeError(f"checker {own.whole!r} is async: define it with a plain `def`; inside, asyncio.run may wait for something")
    if inspect.isgeneratorfunction(function):
        raise OwnCodeError(f"checker {own.whole!r} has a `yield`, so a call gives no number: use `return`")
    try:
        signature = inspect.signature(function)
    except ValueError:  # functions written in C may have none; the first call will tell
        return function
    try:
        signature.bind("response", "reference")
    except TypeError as error:
        raise OwnCodeError(
            f"checker {own.whole!r} takes {signature}, but is called with (response, reference), two texts or JSON values by position: "
            f"{error}"
        ) from None
    return function


def describe_missing(own: OwnName, module: ModuleType) -> str:
    near = get_close_matches(own.function, functions_in(module), 1)
    hint = f"; did you mean {own.place}:{near[0]}?" if near else ""
    if hidden := "" if own.path else hidden_by_ours(own):
        return f"{own.place} has no {own.function!r}; {hidden}"
    return f"{own.place} has no {own.function!r}; {functions_of(own, module)}{hint}"


def functions_of(own: OwnName, module: ModuleType) -> str:
    return f"the functions of {own.place} are {', '.join(functions_in(module)) or 'none'}"


def functions_in(module: ModuleType) -> list[str]:
    """The names of a module's own functions and callable objects."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    )
