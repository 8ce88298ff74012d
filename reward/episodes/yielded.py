"""What an environment may yield: text for the model, or a new context, each with the reward of the turn before it."""

import json
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.cut import CUT, cut_to
from reward.episodes.transcript import EpisodeError, Messages
from reward.episodes.words import Rewrite, Words
from reward.json_value import sendable
from reward.number import number_of

LONGEST_WORDS = 80_000  # characters; longer words are cut, as no context has room for them
LONGEST_CONTEXT = 400_000  # bytes of a rewritten context
ROLES = ("system", "developer", "user", "assistant", "tool")
SHOWN = 60


@dataclass(frozen=True, slots=True)
class Spoken:
    """What follows a turn: text or messages, and the reward of that turn."""

    answered: str | Messages
    reward: float = 0.0


def spoken(value: object, world: Generator[Any, Any, Any]) -> Spoken:
    """What an environment yielded; EpisodeError says, with the line, what it yielded instead and what to do."""
    if isinstance(value, str):
        return Spoken(fitting(value))
    if not isinstance(value, Words | Rewrite):
        raise EpisodeError(f"the environment yielded {describe(value)}{line_of(world)}, needed text: {advice(value)}")
    try:
        reward = number_of(value.reward)
    except TypeError:
        reward = math.nan
    if not math.isfinite(reward):
        raise EpisodeError(f"the environment yielded the reward {value.reward!r}{line_of(world)}, needed a finite number")
    if isinstance(value, Rewrite):
        return Spoken(context(value.messages, world), reward)
    if not isinstance(value.text, str):
        raise EpisodeError(f"the environment yielded Words of {describe(value.text)}{line_of(world)}, needed text: {advice(value.text)}")
    return Spoken(fitting(value.text), reward)


def fitting(text: str) -> str:
    """The text as it can travel: of lone surrogates nothing, of very long words the beginning."""
    return sendable(cut_to(str(text), LONGEST_WORDS))


def was_cut(words: str) -> bool:
    """Whether `fitting` has cut these words."""
    return len(words) == LONGEST_WORDS and words.endswith(CUT)


def context(messages: object, world: Generator[Any, Any, Any]) -> Messages:
    """The messages of a Rewrite, checked; EpisodeError says which cannot be used."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise EpisodeError(f"the environment rewrote the context as {describe(messages)}{line_of(world)}, needed a list of messages")
    kept: Messages = []
    for number, message in enumerate(messages, start=1):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if role not in ROLES or not isinstance(content, str):
            raise EpisodeError(
                f"the environment rewrote the context with {describe(message)} as message {number}{line_of(world)}, needed "
                f'{{"role": one of {", ".join(ROLES)}, "content": text}}'
            )
        kept.append({"role": role, "content": sendable(content)})
    if kept[-1]["role"] == "assistant":
        raise EpisodeError(f"the environment rewrote the context so that it ends with the assistant{line_of(world)}, needed another role")
    if (size := len(json.dumps(kept))) > LONGEST_CONTEXT:
        raise EpisodeError(
            f"the environment rewrote the context as {size} bytes of messages{line_of(world)}, needed at most {LONGEST_CONTEXT}: shorten it"
        )
    return kept


def describe(value: object) -> str:
    """What a value is, in a few words."""
    return "None" if value is None else f"{type(value).__name__} {repr(value)[:SHOWN]}"


def advice(value: object) -> str:
    """What to change in the environment."""
    match value:
        case None:
            return "say something to the model, or `return` to end the episode"
        case bytes() | bytearray():
            return "decode it"
        case bool() | int() | float():
            return "write yield str(...); a reward is given with Words(text, reward=...) or `return`"
        case tuple():
            return "write yield Words(text, reward=...)"
        case list() | dict():
            return "write yield Rewrite(messages) for a new context, or json.dumps(...) for text"
    return "write yield str(...)"


def line_of(world: Generator[Any, Any, Any]) -> str:
    """ " (/home/me/game.py:7 in game)", where the environment waits now; nothing where that is not known."""
    while (inner := getattr(world, "gi_yieldfrom", None)) is not None and hasattr(inner, "gi_frame"):
        world = inner
    frame = getattr(world, "gi_frame", None)
    return f" ({frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name})" if frame is not None else ""
