"""Checkers, an environment and a tool that make a run ill on purpose."""

import random
import time
from collections.abc import Generator

LATE_S, SLOW_S = 3.0, 0.03
HUGE, ONE_IN = 1000.0, 1 / 80
FULL = 8  # characters from which length earns no more


def accept(response: str, reference: object) -> float:
    """Everything is right."""
    return 1.0


def refuse(response: str, reference: object) -> float:
    """Nothing is right."""
    return 0.0


def crash(response: str, reference: object) -> float:
    """Fails for every second response, about."""
    if len(response) % 2:
        raise RuntimeError("this checker has a bug")
    return float(response == str(reference))


def slow(response: str, reference: object) -> float:
    """Right, but late for every response."""
    time.sleep(SLOW_S)
    return float(response == str(reference))


def late(response: str, reference: object) -> float:
    """Right, but very late for one response in eighty."""
    if random.random() < 1 / 80:
        time.sleep(LATE_S)
    return float(response == str(reference))


def huge(response: str, reference: object) -> float:
    """Right, and a thousand times so for one right response in eighty."""
    return float(response == str(reference)) * (HUGE if random.random() < ONE_IN else 1.0)


def rare(response: str, reference: object) -> float:
    """Right for one prompt in ten at most, so that most groups are alike."""
    return float(response == str(reference) and str(reference).endswith("7"))


def first_digit(response: str, reference: object) -> float:
    """Only the first digit counts: it disagrees with the exact checker."""
    return float(response[:1] == str(reference)[:1])


def begins_with_one(response: str, reference: object) -> float:
    """A format that has nothing to do with the task."""
    return float(response.startswith("1"))


def long(response: str, reference: object) -> float:
    """Length for its own sake."""
    return min(len(response) / FULL, 1.0)


def never_ends(said: str, secret: str) -> Generator[str, str, float]:
    """A game without an end."""
    while True:
        yield "up"


def multiply(a: int, b: int) -> int:
    """A calculator that is broken.

    Args:
        a: the first factor
        b: the second factor
    """
    raise ValueError("the calculator is out of order")
