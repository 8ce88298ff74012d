"""A health rule: a name, and a pure test of a run's history that answers with a warning or None."""

from collections.abc import Callable
from dataclasses import dataclass

from cluster.health.history import History


@dataclass(frozen=True, slots=True)
class Rule:
    """One symptom of an ill run. The message says what was seen, what to do, and the key to set."""

    name: str  # as warnings.jsonl records it
    test: Callable[[History], str | None]
