"""A tool that reward workers run: each call is an item of the pool, with its own time, memory, kill and quarantine."""

from abc import ABC, abstractmethod
from typing import Any

from configs.cut import cut_to

TOOL = "tool:"  # begins the names of tools among those of checkers; no row can give such a name
MOST_CHARS = 60_000  # of a result: a worker's line must hold it, with up to twelve bytes for a character


class PoolTool(ABC):
    """One tool in one process."""

    @abstractmethod
    def call(self, arguments: dict[str, Any]) -> dict[str, str]:
        """What a call gives: "result" and its text, or "error" and what the model did wrong. Any exception is a failure without reward."""

    def load(self) -> None:  # noqa: B027
        """Import what the tool needs; OwnCodeError where it cannot be used."""

    @property
    def marks(self) -> list[str]:
        """What the owner of the workers learns of it once: its schema, as JSON."""
        return []

    def describe(self, error: BaseException) -> str:
        """An exception of a call in words."""
        return f"{type(error).__name__}: {error}"

    def report(self, error: BaseException, arguments: str) -> None:  # noqa: B027
        """Print an exception to the pool's log, where that helps."""

    def __call__(self, response: str, reference: object) -> float:
        raise TypeError("a tool is called with arguments, it scores nothing")


def cut(text: str) -> str:
    """A result of at most MOST_CHARS characters; a longer one ends in "[cut]"."""
    return cut_to(text, MOST_CHARS)
