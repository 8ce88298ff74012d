"""How the scoring of a response ended."""

from dataclasses import dataclass, field
from enum import StrEnum

from configs.pickled import quickly_pickled


class Outcome(StrEnum):
    """How the scoring of a response ended; only scored responses enter means and losses."""

    SCORED = "scored"
    TIMED_OUT = "timed_out"  # the checker was late
    CRASHED = "crashed"  # the checker's process died, or ran out of memory
    UNSCORABLE = "unscorable"  # the checker could not score it: it raised, its service did not answer, or its budget is spent


@quickly_pickled  # those of all responses travel with their words, for capsules
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A checker's result for a response; a failure is no reward, not a reward of 0."""

    reward: float | None  # None exactly if `outcome` is not SCORED
    outcome: Outcome = Outcome.SCORED
    failure: str | None = None  # what happened, if it was not scored
    parts: dict[str, float] = field(default_factory=dict)  # raw correctness, parts and shaping, by name
    words: dict[str, str] = field(default_factory=dict)  # what a judge answered, by the name of the part that asked it
    unfinished: bool = False  # the response ends within a thought, so it has no answer
    # The reward of each turn, in order over all segments, which add up to `reward`; empty where all of it belongs to the last turn.
    turn_rewards: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        scored = self.outcome is Outcome.SCORED
        if (self.reward is not None) != scored or (self.failure is None) != scored:
            raise ValueError(f"a verdict is either a reward or a failure, got {self.reward!r}, {self.outcome}, {self.failure!r}")
        if self.turn_rewards and not scored:
            raise ValueError(f"a response that was not scored has no rewards of turns, got {self.turn_rewards}")

    @classmethod
    def failed(cls, outcome: Outcome, failure: str, words: dict[str, str] | None = None) -> "Verdict":
        """No reward, and why."""
        return cls(reward=None, outcome=outcome, failure=failure, words=words or {})
