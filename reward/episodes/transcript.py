"""An episode on its way to the process that runs its environment, as JSON."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

Messages = list[dict[str, str]]


class EpisodeError(Exception):
    """An environment broke the rules of episodes; the text is the whole failure."""


class Past(NamedTuple):
    """A turn of the model as the environment sees it, and what the environment answered."""

    said: str
    answered: str | Messages | None = (
        None  # a list where the context was rewritten; None where nothing is recorded: then it is not compared
    )
    cut: bool = False  # whether the words were longer, and end in "[cut]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All turns so far, and what is asked: the next words, or the reward."""

    turns: tuple[Past, ...]
    score: bool = False
    over: bool = False  # the model has no further turn; only asked with `score`

    def as_json(self) -> dict[str, Any]:
        """A JSON value that `read` reads."""
        return {"turns": self.turns, "score": self.score, "over": self.over}  # JSON writes a tuple with names as a list

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        """The transcript of such a JSON value."""
        return cls(turns=tuple(Past(*turn) for turn in value["turns"]), score=value["score"], over=value["over"])

    @classmethod
    def of(cls, *said: str) -> Self:
        """A whole episode of which only the model's turns are known."""
        return cls(turns=tuple(map(Past, said)), score=True, over=True)
