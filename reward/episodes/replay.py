"""Runs an environment from its start over the transcript of an episode: nothing lives between two turns.

```
start(said 1) ──► yields words 1 = recorded? ──► said 2 ──► ... ──► said k ──► yields: the next words
                                                                            └► returns: the episode is over
```
"""

import inspect
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeGuard

from configs.cut import CUT
from reward.episodes.transcript import EpisodeError, Messages, Past, Transcript
from reward.episodes.words import NoMoreTurns
from reward.episodes.yielded import SHOWN, line_of, spoken
from reward.number import number_of

World = Generator[Any, str, Any]
SAID_BEFORE = 10  # characters shown before the first difference


@dataclass(frozen=True, slots=True)
class Ran:
    """What running an environment gave: the next words or context, or None where it has ended, and the reward of each turn so far."""

    answered: str | Messages | None
    rewards: Sequence[float]

    @property
    def reward(self) -> float:
        """The sum over all turns."""
        return math.fsum(self.rewards)


def replay(start: Callable[[str], object], transcript: Transcript) -> Ran:
    """Run the environment that `start` makes of the model's first turn.

    Raises what the environment raises, and EpisodeError where it says other words than those recorded, yields what is no text, or returns
    what is no number.
    """
    world = start(transcript.turns[0].said)
    if not is_new(world):
        return ended([0.0] * len(transcript.turns), 0, final(world), transcript)
    try:
        ran = run(world, transcript)
    except BaseException:
        with suppress(BaseException):  # the first error is the cause
            world.close()
        raise
    close(world)
    return ran


def is_new(made: object) -> TypeGuard[World]:
    """Whether an environment gave a generator that has not begun; EpisodeError where it has.

    False where it gave its number at once: a decorator runs the generator itself, or it was left out on some way.
    """
    if inspect.isgenerator(made) and inspect.getgeneratorstate(made) != inspect.GEN_CREATED:
        raise EpisodeError("the environment gave a generator that has run before, needed a new one for each call: remove its cache")
    return isinstance(made, Generator)


def run(world: World, transcript: Transcript) -> Ran:
    """Go through the turns, and ask the last one's question."""
    rewards = [0.0] * len(transcript.turns)
    for place, turn in enumerate(transcript.turns):
        try:
            said = spoken(next(world) if place == 0 else world.send(turn.said), world)
        except StopIteration as end:
            return ended(rewards, place, final(end.value), transcript)
        rewards[place] = said.reward
        if place + 1 < len(transcript.turns):
            compare(said.answered, turn)
    if not transcript.score:
        return Ran(said.answered, rewards)
    if not transcript.over:
        raise not_deterministic(f"it said {shown(said.answered)} where it had ended the episode")
    rewards[-1] += value_without_turns(world)
    return Ran(None, rewards)


def ended(rewards: list[float], place: int, value: float, transcript: Transcript) -> Ran:
    """The environment has returned at a turn, which must be the last one."""
    if place + 1 < len(transcript.turns):
        if (before := transcript.turns[place].answered) is None:
            raise EpisodeError(f"the environment ended the episode after {place + 1} of {len(transcript.turns)} turns")
        raise not_deterministic(f"it ended the episode where it had said {shown(before)}")
    rewards[place] = value
    return Ran(None, rewards)


def value_without_turns(world: World) -> float:
    """What the environment returns where it wants another turn and the model has none."""
    where = line_of(world)
    try:
        world.throw(NoMoreTurns())
    except StopIteration as end:
        return final(end.value)
    except NoMoreTurns:
        return 0.0
    raise EpisodeError(f"the environment yields again after NoMoreTurns{where}: return a number there, and write no bare `except:`")


def final(value: object) -> float:
    """The number that an environment returned; EpisodeError says what it returned instead."""
    try:
        number = number_of(value)
    except TypeError as error:
        raise EpisodeError(str(error).replace("checker", "the environment", 1)) from None
    if not math.isfinite(number):
        raise EpisodeError(f"the environment returned {value!r}, needed a finite number")
    return number


def close(world: World) -> None:
    """End a generator that waits at a `yield`; its `finally` blocks run."""
    where = line_of(world)
    try:
        world.close()
    except RuntimeError as error:
        if "ignored GeneratorExit" not in str(error):
            raise
        raise EpisodeError(
            f"the environment yields again while it ends{where}: write no bare `except:` around a `yield`, and no `yield` in a `finally`"
        ) from None


def compare(now: str | Messages, turn: Past) -> None:
    """Raise EpisodeError where the words are others than those that the model got."""
    before = turn.answered
    if before is None or now == before:
        return
    if turn.cut and isinstance(now, str) and isinstance(before, str):
        kept = before.removesuffix(CUT).rstrip("\ufffd").rstrip()  # a cut within a character leaves a mark
        if now.startswith(kept):
            return
    one, other = str(now), str(before)
    shorter = min(len(one), len(other))
    first = next((place for place in range(shorter) if one[place] != other[place]), shorter)
    raise not_deterministic(f"it said {shown(now, first)} where it had said {shown(before, first)}")


def not_deterministic(what: str) -> EpisodeError:
    return EpisodeError(
        f"the environment is not deterministic: {what}: draw from random.Random(seed), use no clock and no variable that outlives a call, "
        "or mark it with @held"
    )


def shown(answered: str | Messages, first: int = 0) -> str:
    """The beginning of what was answered, or what stands around the first difference."""
    whole = answered if isinstance(answered, str) else f"Rewrite({answered})"
    if len(whole) <= SHOWN or first < SHOWN - SAID_BEFORE:
        return repr(whole[:SHOWN])
    return f"…{whole[first - SAID_BEFORE : first + SHOWN - SAID_BEFORE]!r}"
