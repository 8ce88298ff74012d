"""Environments that work, and one for each way in which an environment can break."""

import asyncio
import contextlib
import functools
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from gatewise import NoMoreTurns, Rewrite, Words, held

Turns = Generator[Any, str, Any]
STATE: list[str] = []


def guess(said: str, secret: int) -> Turns:
    """The number game."""
    for left in range(5, -1, -1):
        number = int(said)
        if number == secret:
            return 1.0
        if left:
            said = yield f"{'higher' if number < secret else 'lower'}, {left} left"
    return 0.0


def seeded(said: str, reference: Any, seed: int) -> Turns:
    draw = random.Random(seed)
    while said != "stop":
        said = yield str(draw.random())
    return 1.0


def by_name(*, said: str, row: Any, question: str, index: int, strict: bool = True) -> Turns:
    yield json.dumps([said, row, question, index, strict])
    return 1.0


def rewards(said: str, reference: Any) -> Turns:
    yield Words("one", reward=0.25)
    yield Words("two", reward=-0.5)
    yield "three"
    return 1.0


def rewrites(said: str, reference: Any) -> Turns:
    said = yield Rewrite([{"role": "user", "content": f"so far: {said}"}], reward=0.5)
    return float(said == "end")


def catches(said: str, reference: Any) -> Turns:
    try:
        while True:
            said = yield Words(said + "?", reward=0.125)
    except NoMoreTurns:
        return 0.5


def catches_exceptions(said: str, reference: Any) -> Turns:
    while True:
        try:
            yield "again"
        except Exception:
            return 9.0


def by_halves(said: str, secret: int) -> Turns:
    """The number game, which answers in words what it cannot read."""
    while not said.strip().isdecimal():
        said = yield "a number, please"
    return (yield from guess(said, secret))


def halves(secret: int) -> list[str]:
    """The right turns of the number game."""
    return [str(secret + 2), str(secret)]


by_halves.gold = halves  # type: ignore[attr-defined]


def wrong_gold(said: str, secret: int) -> Turns:
    yield "again"
    return 0.0


wrong_gold.gold = lambda secret: ["a", "b", "c"]  # type: ignore[attr-defined]


def slips(said: str, secret: int) -> Turns:
    yield no_such_name  # type: ignore[name-defined]  # noqa: F821
    return 0.0


def nested(said: str, reference: Any) -> Turns:
    return (yield from guess(said, reference))


def cleans_up(said: str, reference: Any) -> Turns:
    try:
        yield "a"
        yield "b"
    finally:
        STATE.append("closed")
    return 1.0


class Game:
    def __init__(self, words: str) -> None:
        self.words = words

    def __call__(self, said: str, reference: Any) -> Turns:
        yield self.words
        return 1.0

    def method(self, said: str, reference: Any) -> Turns:
        yield f"method {self.words}"
        return 1.0


game = Game("called")
partial = functools.partial(Game.method, game)


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inside(*places: Any, **names: Any) -> Any:
        return function(*places, **names)

    return inside


@passing_on
@passing_on
def wrapped(said: str, reference: Any, seed: int) -> Turns:
    yield f"wrapped {seed}"
    return 1.0


@held
def stays(said: str, reference: Any) -> Turns:
    yield "held"
    return 1.0


def awaits(said: str, reference: Any) -> Turns:
    print("printed by an environment")

    async def slept() -> str:
        await asyncio.sleep(0)
        return "awaited"

    yield asyncio.run(slept())
    return 1.0


def threads(said: str, reference: Any) -> Turns:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append("from a thread"))
    thread.start()
    thread.join()
    yield found[0]
    return 1.0


def no_turn(said: str, reference: Any) -> Turns:
    """A checker whose `yield` is never reached."""
    return float(said == reference)
    yield "never"


def surrogate(said: str, reference: Any) -> Turns:
    yield "a\ud800b"
    return 1.0


def long_words(said: str, reference: Any) -> Turns:
    said = yield "x" * (1 << 20)
    return float(said == "end")


def empty(said: str, reference: Any) -> Turns:
    yield ""


# What breaks.


def yields_this(said: str, reference: Any) -> Turns:
    """Yields a value that the reference names."""
    values: dict[str, Any] = {
        "none": None,
        "bytes": b"x",
        "number": 5,
        "pair": ("words", 0.5),
        "list": [{"role": "user", "content": "x"}],
        "object": object,
        "words of none": Words(None),  # type: ignore[arg-type]
        "reward": Words("x", reward="much"),  # type: ignore[arg-type]
        "infinite": Words("x", reward=float("inf")),
        "messages of text": Rewrite("x"),  # type: ignore[arg-type]
        "no messages": Rewrite([]),
        "role": Rewrite([{"role": "human", "content": "x"}]),
        "content": Rewrite([{"role": "user", "content": None}]),  # type: ignore[dict-item]
        "assistant": Rewrite([{"role": "assistant", "content": "x"}]),
        "endless": Rewrite([{"role": "user", "content": "x" * 500_000}]),
    }
    yield values[reference]
    return 1.0


def returns_this(said: str, reference: Any) -> Turns:
    """Returns a value that is no number."""
    if said == "go on":
        yield "on"
    return {"none": None, "text": "1.0", "list": [1.0], "nan": float("nan"), "coroutine": "x"}[reference]


def raises(said: str, reference: Any) -> Turns:
    errors: dict[str, BaseException] = {
        "value": ValueError("of mine"),
        "exit": SystemExit(0),
        "closed": GeneratorExit(),
        "turns": NoMoreTurns(),
        "interrupt": KeyboardInterrupt(),
    }
    yield "first"
    raise errors[reference]


def runs_out(said: str, reference: Any) -> Turns:
    yield next(iter(()))
    return 1.0


def recursion(said: str, reference: Any) -> Turns:
    return (yield from recursion(said, reference))


def swallows(said: str, reference: Any) -> Turns:
    while True:
        with contextlib.suppress(NoMoreTurns):
            yield "again"


def swallows_all(said: str, reference: Any) -> Turns:
    while True:
        with contextlib.suppress(BaseException):
            yield "again"


def says_goodbye(said: str, reference: Any) -> Turns:
    try:
        yield "first"
    finally:
        yield "goodbye"


def draws(said: str, reference: Any) -> Turns:
    yield f"{'the same words, and then ' * 4}{random.random()}"
    yield "more"
    return 1.0


def thinks(said: str, reference: Any) -> Turns:
    """Says what it has seen."""
    said = yield f"seen {said!r}"
    return float(said == reference)


def turns_in_circles(said: str, reference: Any) -> Turns:
    while reference is None:
        pass
    yield "never"


def dies(said: str, reference: Any) -> Turns:
    yield "first"
    os.kill(os.getpid(), signal.SIGKILL)


def eats(said: str, reference: Any) -> Turns:
    yield "first"
    yield str(len(bytearray(1 << 36)))


def numbers(said: str, reference: Any) -> Iterator[float]:
    """A generator of numbers in place of one."""
    yield 0.5


@functools.cache
def cached(said: str, reference: Any) -> Turns:
    yield "first"
    return 1.0
