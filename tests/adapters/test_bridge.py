"""A coroutine that asks for turns, as an environment: what it says, its end on every way, and that nothing of it is left."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gatewise import NoMoreTurns
from gatewise.adapters.bridge import Ask, OutOfTurn, bridge

EVENTS: list[str] = []


async def echo(ask: Ask) -> float:
    said = await ask(None)
    turns = 0
    while said not in ("end", None):
        await asyncio.sleep(0)
        turns += 1
        said = await ask(f"{turns} {said}")
    return float(turns if said else -turns)


async def at_once(ask: Ask) -> float:
    return 0.5


async def tidy(ask: Ask) -> float:
    try:
        await ask(None)
        await ask("more")
    finally:
        await asyncio.sleep(0)
        EVENTS.append("closed")
    return 1.0


async def words_first(ask: Ask) -> float:
    await ask("hello")
    return 1.0


async def no_words(ask: Ask) -> float:
    await ask(None)
    await ask(None)
    return 1.0


async def never_stops(ask: Ask) -> float:
    said = await ask(None)
    while True:
        said = await ask(f"again {said}")


async def raises(ask: Ask) -> float:
    await ask(None)
    raise ValueError("a bug")


def play(play: Any, said: Sequence[str | None]) -> tuple[list[str], object]:
    """What it says to these turns, and what it returns; None: no turn is left."""
    heard: list[str] = []
    world = bridge(said[0] or "", play)
    try:
        heard.append(next(world))
        for turn in said[1:]:
            heard.append(world.throw(NoMoreTurns()) if turn is None else world.send(turn))
    except StopIteration as end:
        return heard, end.value
    world.close()
    return heard, None


@pytest.mark.parametrize(
    ("coroutine", "said", "heard", "value"),
    [
        (echo, ["a", "b", "end"], ["1 a", "2 b"], 2.0),
        (echo, ["end"], [], 0.0),
        (echo, ["a", "b", None], ["1 a", "2 b"], -2.0),
        (echo, ["a", ""], ["1 a", "2 "], None),
        (at_once, ["a"], [], 0.5),
    ],
)
def test_it_says_what_the_coroutine_says_and_returns_what_it_returns(
    coroutine: Any, said: list[str | None], heard: list[str], value: object
) -> None:
    assert play(coroutine, said) == (heard, value)


@pytest.mark.parametrize(
    ("coroutine", "said", "error", "message"),
    [
        (words_first, ["a"], OutOfTurn, "the coroutine spoke first"),
        (no_words, ["a"], OutOfTurn, "another turn without words"),
        (never_stops, ["a", "b", None], OutOfTurn, "after the model.s last"),
        (raises, ["a"], ValueError, "a bug"),
    ],
)
def test_a_coroutine_that_breaks_the_rules_is_an_error(coroutine: Any, said: list[str | None], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        play(coroutine, said)


@pytest.mark.parametrize("said", [["a"], ["a", None], ["a", "b"]], ids=["closed", "no turn left", "to its end"])
def test_the_coroutine_is_tidied_up_however_the_episode_ends(said: list[str | None]) -> None:
    EVENTS.clear()
    play(tidy, said)
    assert EVENTS == ["closed"]
