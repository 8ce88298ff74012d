"""A response as a scorer gets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rollout.episode import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A finished response that needs a reward."""

    checker: str
    response: str
    reference: Any  # a JSON value
    tokens: int  # generated; for the over-long penalty
    prompt: str = ""  # as the model read it, with the marks of its chat template
    question: str = ""  # the same in plain words, for a judge
    prefill: str = ""  # the end of `prompt`: what begins the assistant's turn (`data.prefill`)
    row: str = ""  # where it stands in the data, for messages: "prompts.jsonl line 3"
    # For functions of the user's that ask for them:
    columns: Mapping[str, Any] = field(default_factory=dict)  # of its row
    truncated: bool = False
    group: tuple[str, ...] = ()  # the texts of its whole group, one object for all of them; empty where it is alone
    index: int = 0  # its place in the group
    seed: int = 0
    turns: tuple[Turn, ...] = ()  # the transcript; empty for one turn
    episode: str = ""  # unique for each attempt at a member of a group: sessions belong to it

    @property
    def fields(self) -> dict[str, Any]:
        """What a function of the user's may ask for, without response, reference and group, by the names of its parameters."""
        return {
            "prompt": self.prompt,
            "question": self.question or self.prompt,
            "row": self.columns,
            "tokens": self.tokens,
            "truncated": self.truncated,
            "index": self.index,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """Which fields the functions of the user's ask for, so that only those travel."""

    by_checker: Mapping[str, Sequence[str]] = field(default_factory=dict)
    always: tuple[str, ...] = ()  # checkers of parts, and the second one: they score every response

    def of(self, checker: str) -> frozenset[str]:
        """The fields that a response of a row with that checker needs."""
        return frozenset(name for one in (checker, *self.always) for name in self.by_checker.get(one, ()))
