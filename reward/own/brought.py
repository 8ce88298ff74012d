"""The attributes that a function of the user's may bring: `check_reference`, `gold` and `warm_up`, as our own checkers have them."""

from collections.abc import Callable, Sequence
from typing import Any

from configs.digits import write_long_json
from reward.own.name import OwnCodeError

LONGEST_GOLD = 100_000  # characters
NAMES = ("check_reference", "gold", "warm_up")


def brought_by(whole: str, function: Callable[..., object]) -> dict[str, Any]:
    """Its attributes of these names; OwnCodeError where one cannot be used."""
    found = {name: value for name in NAMES if (value := getattr(function, name, None)) is not None}
    for name in ("check_reference", "gold"):
        if name in found and not callable(found[name]):
            kind = type(found[name]).__name__
            raise OwnCodeError(f"checker {whole!r} brings {name}, a {kind}, needed a function of (reference): correct it, or rename it")
    warm = found.get("warm_up")
    if warm is not None and not callable(warm) and not (isinstance(warm, Sequence) and all(is_pair(one) for one in warm)):
        raise OwnCodeError(
            f"checker {whole!r} brings warm_up, a {type(warm).__name__}, needed a function without parameters or a list of "
            "(response, reference): correct it, or rename it"
        )
    return found


def is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == len(("response", "reference")) and isinstance(value[0], str)


def gold_of(
    brought: dict[str, Any], reference: Any, awaited: Callable[[object], object], *, yields: bool = False
) -> str | list[str] | None:
    """A right response to the reference, None where there is none; ValueError where the reference cannot be used.

    Without a `gold` of the function's own, a text or a number is the right response itself, except for an environment (`yields`). The gold
    of an environment may be a list: the text of each turn. `awaited` waits for what an async one returns.
    """
    if "check_reference" in brought and awaited(brought["check_reference"](reference)) is False:
        raise ValueError("check_reference returned False: raise an error that says why the reference cannot be used")
    if "gold" not in brought:
        return None if yields else plain_gold(reference)
    right = awaited(brought["gold"](reference))
    if yields and isinstance(right, list | tuple):
        return turns_of(right)
    if right is not None and not isinstance(right, str):
        raise TypeError(f"gold returned {type(right).__name__}, needed a text, or None where the reference determines no right response")
    if right is not None and len(right) > LONGEST_GOLD:
        raise ValueError(f"gold returned {len(right)} characters, needed at most {LONGEST_GOLD}")
    return right


def turns_of(right: Sequence[object]) -> list[str]:
    """The gold turns of an environment; raises where they are no texts, or too long."""
    turns = [turn for turn in right if isinstance(turn, str)]
    if not turns or len(turns) < len(right):
        raise TypeError(f"gold returned {repr(right)[:60]}, needed the text of each turn")
    if sum(map(len, turns)) > LONGEST_GOLD:
        raise ValueError(f"gold returned {sum(map(len, turns))} characters, needed at most {LONGEST_GOLD}")
    return turns


def plain_gold(reference: object) -> str | None:
    """A text or a number is taken as the right answer; other references determine none."""
    return str(reference) if isinstance(reference, str | int | float) and not isinstance(reference, bool) else None


def check_is_json(reference: object) -> None:
    """Raise ValueError or TypeError where a reference is no JSON value."""
    write_long_json(reference, allow_nan=False)
