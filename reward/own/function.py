"""A function of the user's as a checker: imported once, called with what its signature asks for, its result made a number."""

import functools
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from configs.errors import in_one_line
from reward.episodes.replay import Ran, replay
from reward.episodes.transcript import Transcript
from reward.episodes.words import HELD
from reward.number import number_of
from reward.own.awaited import Loop
from reward.own.brought import brought_by, gold_of
from reward.own.name import OwnCodeError, OwnName
from reward.own.returns import NEVER_RETURNS, never_returns
from reward.own.signature import Call, call_of
from reward.own.source import import_own
from reward.own.words import at_call, hidden_by_ours, in_the_row, print_error

QUOTED = 200
MOST_LAYERS = 50  # decorators


class OwnFunction:
    """The `score` of a checker of the user's; it imports the code at `load`, or at its first call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file: str | None = None
        self.call = Call()
        self.brought: dict[str, Any] = {}
        self.endless = False  # whether it is an environment that returns no number on any way
        self.yields = self.held = False  # whether it is an environment, and one with a process of its own for each episode
        self._function: Callable[..., object] | None = None
        self._loop = Loop()

    def load(self) -> None:
        """Import the code; OwnCodeError says what is wrong with it. Python imports a module once, however often this is called."""
        own = OwnName.read(self.name)
        module = import_own(own)
        self.file = getattr(module, "__file__", None)
        self._function = find_function(own, module)
        self.yields, self.held = yields(self._function), is_held(own, self._function)
        self.endless = never_returns(layers(self._function))
        self.call = call_of(own.whole, self._function, yields=self.yields)
        self.brought = brought_by(own.whole, self._function)

    @property
    def marks(self) -> list[str]:
        """What its owner must know of it: the fields that it asks for, "brings NAME", "yields", "held" and "never returns"."""
        kinds = {"yields": self.yields, "held": self.held, NEVER_RETURNS: self.endless}
        return [*self.call.asks, *(f"brings {name}" for name in self.brought), *(name for name, true in kinds.items() if true)]

    def __call__(self, response: str, reference: Any, fields: Mapping[str, Any] | None = None) -> float:
        """The reward; raises what the function raises, and TypeError where its result is no number or a field that it needs is absent.

        For an environment the response is the whole episode.
        """
        if self._function is None:
            self.load()
        if self.yields:
            return self.play(Transcript.of(response), reference, fields).reward
        return number_of(self.result_of(response, reference, fields))

    def begin(self, response: str, reference: Any, fields: Mapping[str, Any] | None = None) -> object:
        """What one call returns: of an environment the generator, which has not begun."""
        if self._function is None:
            self.load()
        assert self._function is not None
        given = {"response": response, "reference": reference, **(fields or {})}
        if absent := [name for name in self.call.asks if name not in given]:
            raise TypeError(f"it asks for {', '.join(absent)}, needed a caller that has this, as a run does")
        return self.call.make(self._function, given)

    def result_of(self, response: str, reference: Any, fields: Mapping[str, Any] | None = None) -> object:
        """What one call returns, awaited where it is awaitable."""
        return self._loop.result(self.begin(response, reference, fields))

    def play(self, transcript: Transcript, reference: Any, fields: Mapping[str, Any] | None = None) -> Ran:
        """Run the environment over the turns so far; raises what it raises, and EpisodeError where it breaks the rules of episodes."""
        return replay(lambda said: self.result_of(said, reference, fields), transcript)

    def gold(self, reference: Any) -> str | list[str] | None:
        """A right response, or the right turns of an episode, None where the reference determines none.

        Raises where `check_reference` refuses the reference.
        """
        if self._function is None:
            self.load()
        return gold_of(self.brought, reference, self._loop.result, yields=self.yields)

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
        print_error(f"{self.name} failed on the response {response[:QUOTED]!r}", error, self.file)


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
        function: Any = functools.reduce(getattr, own.function.split("."), module)
    except AttributeError:
        raise OwnCodeError(f"checker {own.whole!r}: {describe_missing(own, module)}") from None
    if not callable(function):
        raise OwnCodeError(f"checker {own.whole!r} has the type {type(function).__name__}, needed a function; {functions_of(own, module)}")
    if inspect.isclass(function):
        raise OwnCodeError(
            f"checker {own.whole!r} is a class, and to call it makes an object, no number: write a function, or name an object of the class"
        )
    if any(map(inspect.isasyncgenfunction, layers(function))):
        raise OwnCodeError(
            f"checker {own.whole!r} is an async generator: write an environment with `def`, and have it await with asyncio.run(...)"
        )
    return function


def layers(function: Callable[..., object]) -> list[Callable[..., object]]:
    """The function, the method that a call of an object runs, and what decorators have wrapped in either."""
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    found = [function, called]
    for one in (function, called):
        inner = one.func if isinstance(one, functools.partial) else one
        while (inner := getattr(inner, "__wrapped__", None)) is not None and len(found) < MOST_LAYERS:
            found.append(inner)
    return found


def yields(function: Callable[..., object]) -> bool:
    """Whether it is an environment."""
    return any(map(inspect.isgeneratorfunction, layers(function)))


def is_held(own: OwnName, function: Callable[..., object]) -> bool:
    """Whether it is marked with @held; OwnCodeError where it is no environment."""
    inner = function.func if isinstance(function, functools.partial) else function
    marked = any(getattr(one, HELD, False) is True for one in (inner, *layers(function)))
    if marked and not yields(function):
        raise OwnCodeError(
            f"checker {own.whole!r} is marked with @held, but has no `yield`, so it has no turns to wait for: remove the mark"
        )
    return marked


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
