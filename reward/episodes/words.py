"""What an author of environments imports: `from gatewise import Words, Rewrite, NoMoreTurns, held`.

Imports nothing but the standard library: a reward worker has no torch and no numpy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Environment = TypeVar("Environment", bound=Callable[..., Any])
HELD = "held"  # the attribute that marks an environment as held


@dataclass(frozen=True, slots=True)
class Words:
    """Text for the model, with the reward of the turn that it follows: `said = yield Words("warm", reward=0.1)`."""

    text: str
    reward: float = 0.0


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A new context for the model in place of the old one: `said = yield Rewrite([{"role": "user", "content": "..."}])`.

    The messages are the whole context up to the model's next turn. The last one is no assistant's.
    """

    messages: Sequence[dict[str, str]]
    reward: float = 0.0


class NoMoreTurns(BaseException):
    """Raised by `yield` where the model has no turn left. Not caught, the rest of the episode is worth 0.

    It is no Exception, so an `except Exception` around a `yield` does not catch it.
    """


def held(environment: Environment) -> Environment:
    """Mark an environment whose steps are slow, or whose state is not a function of what was said: it is not run again for each turn.

    Each of its episodes has a process of its own, in which the generator waits between turns.
    """
    setattr(environment, HELD, True)
    return environment
