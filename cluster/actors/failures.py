"""In which actor an error was raised."""

import re
from collections.abc import Iterator

import ray

# Ray gives the driver the class of an actor in the text of its errors only: of a method that raised, of an actor that died.
NAMED = re.compile(r"ray::(\w+)\.|class_name: (\w+)")


def actor_of(error: BaseException) -> str:
    """The class of the actor that raised the error, or whose death is the error; empty if it came from no actor."""
    for inner in chain(error):
        if isinstance(inner, ray.exceptions.RayTaskError | ray.exceptions.RayActorError):
            found = NAMED.search(str(inner))
            return next(filter(None, found.groups())) if found else "an unnamed actor"
    return ""


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, the first member of each group in it, and what it was raised from, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.exceptions[0] if isinstance(current, BaseExceptionGroup) else current.__cause__
