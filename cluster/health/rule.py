"""A health rule: a name, and a pure test of a run's history that answers with a finding or None."""

from collections.abc import Callable
from dataclasses import dataclass

from cluster.health.history import History


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, with its numbers, and what to do about it: the key to set and a value to try."""

    seen: str
    advice: str

    @property
    def message(self) -> str:
        return f"{self.seen}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One symptom of an ill run."""

    name: str  # as health.jsonl records it
    test: Callable[[History], Finding | None]
