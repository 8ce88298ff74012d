"""A function of the user's as a checker: imported once, called with what its signature asks for, its result made a number."""

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import reduce
from types import ModuleType
from typing import Any

from configs.errors import in_one_line
from reward.own.awaited import Loop
from reward.own.brought import brought_by, gold_of
from reward.own.name import OwnCodeError, OwnName
from reward.own.number import number_of
from reward.own.signature import Call, call_of
from reward.own.source import import_own
from reward.own.words import at_call, hidden_by_ours, in_the_row, named, own_frame

SHOWN_FRAMES = 20
QUOTED = 200


class OwnFunction:
    """The `score` of a checker of the user's; it imports the code at `load`, or at its first call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file: str | None = None
        self.call = Call()
        self.brought: dict[str, Any] = {}
        self._function: Callable[..., object] | None = None
        self._loop = Loop()

    def load(self) -> None:
        """Import the code; OwnCodeError says what is wrong with it. Python imports a module once, however often this is called."""
        own = OwnName.read(self.name)
        module = import_own(own)
        self.file = getattr(module, "__file__", None)
        self._function = find_function(own, module)
        self.call, self.brought = call_of(own.whole, self._function), brought_by(own.whole, self._function)

    def __call__(self, response: str, reference: Any, fields: Mapping[str, Any] | None = None) -> float:
        """The reward; raises what the function raises, and TypeError where its result is no number or a field that it needs is absent."""
        if self._function is None:
            self.load()
        assert self._function is not None
        given = {"response": response, "reference": reference, **(fields or {})}
        if absent := [name for name in self.call.asks if name not in given]:
            raise TypeError(f"it asks for {', '.join(absent)}, needed a caller that has this, as a run does")
        return number_of(self._loop.result(self.call.make(self._function, given)))

    def gold(self, reference: Any) -> str | None:
        """A right response, None where the reference determines none; raises where `check_reference` refuses the reference."""
        if self._function is None:
            self.load()
        return gold_of(self.brought, reference, self._loop.result)

    def warm_up(self) -> None:
        """Do what the function brings to be done once before the first call; OwnCodeError where that fails."""
        warm = self.brought.get("warm_up", ())
        try:
            if callable(warm):
                self._loop.result(warm())
                return
            for response, reference in warm:
                self(response, reference, stand_ins(response))
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise OwnCodeError(f"checker {self.name!r} fails in its warm_up: {in_one_line(self.describe(error))}") from error
        finally:
            self._loop.close()  # forks must not share it

    def describe(self, error: BaseException, fields: Mapping[str, Any] | None = None) -> str:
        """An error of a call in words, with the line of the user's file where it came from, and what to do where that is known."""
        return at_call(error, self.file) + in_the_row(error, (fields or {}).get("row"))

    def report(self, error: BaseException, response: str) -> None:
        """Print the error's last frames to stderr, which the pool writes to its log."""
        shown = "".join(traceback.format_exception(error, limit=-SHOWN_FRAMES)) if own_frame(error, self.file) else f"{named(error)}\n"
        print(f"{self.name} failed on the response {response[:QUOTED]!r}:\n{shown}", file=sys.__stderr__, end="", flush=True)


def stand_ins(response: str) -> dict[str, Any]:
    """Fields for a call outside a run: a group of one, no row."""
    return {
        "prompt": "",
        "question": "",
        "row": {},
        "tokens": len(response.split()),
        "truncated": False,
        "group": [response],
        "index": 0,
        "seed": 0,
    }


def find_function(own: OwnName, module: ModuleType) -> Callable[..., object]:
    """The function of an imported module; OwnCodeError where there is none of that name."""
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
    if any(is_generator(one) for one in (function, called) for is_generator in (inspect.isgeneratorfunction, inspect.isasyncgenfunction)):
        raise OwnCodeError(f"checker {own.whole!r} has a `yield`, so a call gives no number: use `return`")
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
