"""What travels between generation, scoring and learning; numpy only.

Legend for shapes: G responses a prompt, P prompt tokens, T response tokens, L decoder layers, K experts a token.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

OVERLONG = "overlong"  # the name in a verdict's `parts` for DAPO's over-long penalty
Experts = NDArray[np.uint8] | NDArray[np.uint16]  # [P+T-1, L, K]; layers without experts have a column too


class Finish(StrEnum):
    """Why a response ended."""

    STOP = "stop"  # the model ended it with a stop token
    LENGTH = "length"  # the token budget ran out: truncated
    ABORTED = "aborted"  # the engine aborted it; not learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question, tokenised once."""

    prompt_id: str  # stable name of the data row
    token_ids: NDArray[np.int32]  # [P]
    reference: Any  # what the checker compares with
    checker: str  # name in reward.checkers
    text: str = ""  # the tokenised text, for people
    source: str = ""  # name of the source or eval set that it comes from; empty for data.train and data.eval
    question: str = ""  # the row's own words without the marks of a chat template, for a judge
    where: str = ""  # the row that it comes from: "prompts.jsonl line 3"
    key: str = ""  # where the config names its rows: "data.train", "data.sources.NAME"
    named_checker: str = ""  # the checker that the row itself names; empty where its source or the config chooses
    prefill: str = ""  # the end of `text`, which begins the assistant's turn
    columns: dict[str, Any] = field(default_factory=dict)  # of data.keep_fields, as JSON values, for functions of the user's


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of an episode that begins with a context of its own, because an environment rewrote it."""

    prompt_ids: NDArray[np.int32]  # [P], the rewritten context
    token_ids: NDArray[np.int32]  # [T]
    logprobs: NDArray[np.float32] | None  # [T], 0 on tokens that the model did not sample
    oldest_version: int
    newest_version: int
    turns: NDArray[np.int32] | None = None  # as in Response
    routed_experts: Experts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An engine's answer to a prompt, exactly as it was sampled; of several turns, the whole episode."""

    token_ids: NDArray[np.int32]  # [T], with the stop token if there is one
    logprobs: NDArray[np.float32] | None  # [T], under the weights and the temperature that sampled them; None if not asked for
    finish: Finish
    oldest_version: int  # step whose weights sampled the first token
    newest_version: int  # step whose weights sampled the last token
    text: str  # decoded, for checkers and people only; of several turns the last one's
    routed_experts: Experts | None = None
    turns: NDArray[np.int32] | None = (
        None  # [K, 2], where each turn of the model begins and ends in token_ids; None: all tokens are its own
    )
    later: tuple[Segment, ...] = ()  # what follows each rewritten context

    def __len__(self) -> int:
        return int(self.token_ids.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What every learned response brings to its rank; recorded experts travel apart, the text and the verdict stay behind."""

    token_ids: NDArray[np.int32]  # [T]
    logprobs: NDArray[np.float32] | None  # [T]
    oldest_version: int
    newest_version: int

    @classmethod
    def of(cls, response: Response) -> "Sampled":
        """That part of a response."""
        return cls(
            token_ids=response.token_ids,
            logprobs=response.logprobs,
            oldest_version=response.oldest_version,
            newest_version=response.newest_version,
        )

    def __len__(self) -> int:
        return int(self.token_ids.shape[0])


class Outcome(StrEnum):
    """How the scoring of a response ended; only scored responses enter means and losses."""

    SCORED = "scored"
    TIMED_OUT = "timed_out"  # the checker was late
    CRASHED = "crashed"  # the checker's process died, or ran out of memory
    UNSCORABLE = "unscorable"  # the checker could not score it: it raised, its service did not answer, or its budget is spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A checker's result for a response; a failure is no reward, not a reward of 0."""

    reward: float | None  # None exactly if `outcome` is not SCORED
    outcome: Outcome = Outcome.SCORED
    failure: str | None = None  # what happened, if it was not scored
    parts: dict[str, float] = field(default_factory=dict)  # raw correctness, parts and shaping, by name
    words: dict[str, str] = field(default_factory=dict)  # what a judge answered, by the name of the part that asked it
    unfinished: bool = False  # the response ends within a thought, so it has no answer

    def __post_init__(self) -> None:
        scored = self.outcome is Outcome.SCORED
        if (self.reward is not None) != scored or (self.failure is None) != scored:
            raise ValueError(f"a verdict is either a reward or a failure, got {self.reward!r}, {self.outcome}, {self.failure!r}")

    @classmethod
    def failed(cls, outcome: Outcome, failure: str, words: dict[str, str] | None = None) -> "Verdict":
        """No reward, and why."""
        return cls(reward=None, outcome=outcome, failure=failure, words=words or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The responses to one prompt with their verdicts; learned as a whole or not at all."""

    group_id: int  # position in the prompt stream: 0, 1, 2, ...
    prompt: Prompt
    responses: tuple[Response, ...]  # [G]
    verdicts: tuple[Verdict, ...]  # [G]

    def __post_init__(self) -> None:
        if len(self.responses) != len(self.verdicts):
            raise ValueError(f"group {self.group_id}: {len(self.responses)} responses but {len(self.verdicts)} verdicts")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """What the driver knows of a group: numbers, no tokens. Arrays follow the order of the group's responses."""

    group_id: int
    prompt_id: str
    prompt_tokens: int
    lengths: NDArray[np.int64]  # [G]
    rewards: NDArray[np.float64]  # [G], NaN if scoring failed
    correct: NDArray[np.float64]  # [G], raw correctness before shaping, NaN if scoring failed
    truncated: NDArray[np.bool_]  # [G]
    aborted: NDArray[np.bool_]  # [G]
    oldest_version: int
    newest_version: int
    outcomes: tuple[Outcome, ...] = ()  # [G]
    failures: tuple[str, ...] = ()  # of the responses that were not scored
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # [G] each, NaN if there is none
    unfinished: NDArray[np.bool_] | None = None  # [G], responses that end within a thought
    source: str = ""  # the prompt's
    scoring_s: float = 0.0  # seconds from the group's last response to its last verdict

    @property
    def unscored(self) -> int:
        return len(self.rewards) - int(np.isfinite(self.rewards).sum())

    @classmethod
    def of(cls, group: Group, scoring_s: float = 0.0) -> "GroupSummary":
        """The summary of a scored group."""
        verdicts, responses = group.verdicts, group.responses
        nan = float("nan")
        return cls(
            group_id=group.group_id,
            prompt_id=group.prompt.prompt_id,
            prompt_tokens=len(group.prompt.token_ids),
            lengths=np.array([len(r) for r in responses], np.int64),
            rewards=np.array([nan if v.reward is None else v.reward for v in verdicts], np.float64),
            correct=np.array([nan if v.reward is None else v.parts.get("correct", v.reward) for v in verdicts], np.float64),
            truncated=np.array([r.finish is Finish.LENGTH for r in responses]),
            aborted=np.array([r.finish is Finish.ABORTED for r in responses]),
            oldest_version=min(r.oldest_version for r in responses),
            newest_version=max(r.newest_version for r in responses),
            outcomes=tuple(v.outcome for v in verdicts),
            failures=tuple(v.failure for v in verdicts if v.failure),
            parts={
                name: np.array([v.parts.get(name, nan) for v in verdicts]) for name in dict.fromkeys(n for v in verdicts for n in v.parts)
            },
            unfinished=np.array([v.unfinished for v in verdicts]),
            source=group.prompt.source,
            scoring_s=scoring_s,
        )
