"""What a service answered about a response."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A score, and the words that came with it, which people read."""

    score: float
    words: str = ""
