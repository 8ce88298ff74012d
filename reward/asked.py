"""A response as a scorer gets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.pickled import quickly_pickled
from reward.own.signature import AT_THE_END, DOOR
from rollout.transcript.episode import Turn
from rollout.types import Verdict

AGENT = "base_url"  # what an agent asks for, and nobody else
YIELDS, HELD = "yields", "held"  # what a pool says of a function that is an environment, and of one with a process for each episode


@quickly_pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A finished response that needs a reward, or an episode whose last turn needs an answer."""

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
    # Of an episode:
    turns: tuple[Turn, ...] = ()  # all turns so far, `response` the last one's text; empty where there was one turn
    episode: str = ""  # another one for each attempt at a member of a group
    group_seed: int = 0  # the same for every response to the prompt
    door: tuple[str, str] | None = field(default=None, repr=False)  # of an agent: the base address and the key with which it asks
    earned: Verdict | None = None  # what an agent has returned
    over: bool = False  # to be scored because the model has no further turn, not because the environment ended it

    @property
    def said(self) -> tuple[Turn, ...]:
        """All turns, also of an episode of one."""
        return self.turns or (Turn(said=self.response),)

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

    @property
    def fields_of_environment(self) -> dict[str, Any]:
        """What an environment may ask for. Its seed is the group's, so that its members play the same game."""
        known = {name: value for name, value in self.fields.items() if name not in AT_THE_END}
        known["seed"] = self.group_seed
        return known if self.door is None else known | dict(zip(DOOR, self.door, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """Which fields the functions of the user's ask for, so that only those travel, and which rows have several turns."""

    by_checker: Mapping[str, Sequence[str]] = field(default_factory=dict)
    always: tuple[str, ...] = ()  # checkers of parts, and the second one: they score every response
    tools: bool = False  # whether tools are in use

    def of(self, checker: str) -> frozenset[str]:
        """The fields that a response of a row with that checker needs."""
        return frozenset(name for one in (checker, *self.always) for name in self.by_checker.get(one, ()))

    def talks(self, checker: str) -> bool:
        """Whether rows with that checker may have several turns: it yields, or tools are in use."""
        return self.tools or self.agent(checker) or YIELDS in self.by_checker.get(checker, ())

    def agent(self, checker: str) -> bool:
        """Whether rows with that checker are the work of an agent, which asks for the model's turns itself."""
        return AGENT in self.by_checker.get(checker, ())

    def slow(self, checker: str) -> bool:
        """Whether an answer to a turn may take long, so that answers to others must not wait for it."""
        return self.tools or HELD in self.by_checker.get(checker, ())
