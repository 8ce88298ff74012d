"""A checker: a pure function that scores a response, with the functions and examples that go with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reward.programs.limits import CodeLimits

Score = Callable[[str, Any], float]
Reference = Any  # a JSON value
Responses = Callable[[Reference], list[str]]


def no_responses(reference: object) -> list[str]:
    """None are known."""
    return []


def understood(reference: object) -> None:
    """Every reference that the checker accepts is compared as what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """One entry of the table in `reward.checkers`.

    `score` is `(response, reference) -> reward`: 1.0 for right, 0.0 for wrong, anything between for partly right. It needs no time limit of
    its own and may raise: `reward.workers.pool` turns every failure into a typed outcome. A response that it cannot read is wrong (0.0); a
    reference that it cannot read is a ValueError.

    `not_understood`, `other_words` and `near_misses` take references that `check_reference` accepts.
    """

    score: Score
    check_reference: Callable[[Reference], object]  # ValueError where no response could be compared with it; avoids heavy imports
    gold: Callable[[Reference], str | None]  # a response that must score 1.0; None where the reference does not determine one
    not_understood: Callable[[Reference], str | None] = understood  # why a reference is compared as text alone; None where it is not
    other_words: Responses = no_responses  # further responses that must score 1.0
    near_misses: Responses = no_responses  # responses that must score 0.0, though they look like right ones
    load: Callable[[CodeLimits], Score] | None = None  # makes a `score` with these limits for one process alone
    warm_up: Sequence[tuple[str, Reference]] = ()  # examples whose scoring imports, compiles and caches what the checker needs
    # A second example that each forked worker scores once, so copy-on-write pages and caches are warm before its first item.
    rehearsal: tuple[str, Reference] | None = None
