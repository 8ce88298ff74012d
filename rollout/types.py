"""What travels between generation, scoring and learning; numpy only.

Legend for shapes: G responses a prompt, P prompt tokens, K turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.pickled import quickly_pickled
from rollout.transcript.response import Experts as Experts
from rollout.transcript.response import Finish as Finish
from rollout.transcript.response import Recorded as Recorded
from rollout.transcript.response import Response as Response
from rollout.transcript.response import Sampled as Sampled
from rollout.transcript.response import SampledGroup as SampledGroup
from rollout.transcript.response import Segment as Segment
from rollout.transcript.verdict import Outcome as Outcome
from rollout.transcript.verdict import Verdict as Verdict

OVERLONG = "overlong"  # the name in a verdict's `parts` for DAPO's over-long penalty


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
class Group:
    """The responses to one prompt with their verdicts; learned as a whole or not at all."""

    group_id: int  # position in the prompt stream: 0, 1, 2, ...
    prompt: Prompt
    responses: tuple[Response, ...]  # [G]
    verdicts: tuple[Verdict, ...]  # [G]

    def __post_init__(self) -> None:
        if len(self.responses) != len(self.verdicts):
            raise ValueError(f"group {self.group_id}: {len(self.responses)} responses but {len(self.verdicts)} verdicts")


def _unset() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


class SegmentSize(NamedTuple):
    """The numbers of a segment that a plan reads."""

    prompt_tokens: int
    tokens: int  # after the prompt or the rewritten context, the environment's included
    sampled: int
    turns: int


@quickly_pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """What the driver knows of a group: numbers, no tokens. Arrays follow the order of the group's responses.

    Without the fields of episodes every response has one turn, of all its tokens.
    """

    group_id: int
    prompt_id: str
    prompt_tokens: int
    lengths: NDArray[np.int64]  # [G], all tokens after the prompt, the environment's included
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
    answering_s: float = 0.0  # seconds in which all its unfinished responses waited for an environment or a tool
    answering: tuple[tuple[float, float], ...] = ()  # when that was, in seconds since the engine was asked
    sampled: NDArray[np.int64] = field(default_factory=_unset)  # [G], the tokens that the model sampled
    turns: NDArray[np.int64] = field(default_factory=_unset)  # [G]
    turn_rewards: tuple[NDArray[np.float64], ...] | None = None  # [G] of [K], NaN if scoring failed; None: all is the last turn's
    segments: tuple[tuple[SegmentSize, ...], ...] = ()  # [G], the segments of each response; empty where each has one
    tool_calls: NDArray[np.int64] = field(default_factory=_unset)  # [G], as are the next three
    tool_errors: NDArray[np.int64] = field(default_factory=_unset)
    cut_replies: NDArray[np.int64] = field(default_factory=_unset)
    environment_s: NDArray[np.float64] = field(default_factory=lambda: _unset().astype(np.float64))
    talks: bool = False  # whether the prompt could have several turns

    def __post_init__(self) -> None:
        plain = {"sampled": self.lengths, "turns": np.ones_like(self.lengths)}
        for name in ("sampled", "turns", "tool_calls", "tool_errors", "cut_replies", "environment_s"):
            if len(getattr(self, name)) != len(self.lengths):
                object.__setattr__(self, name, plain.get(name, np.zeros(len(self.lengths), getattr(self, name).dtype)))

    @property
    def every_segment(self) -> Sequence[tuple[SegmentSize, ...]]:
        """The segments of each response [G], in order."""
        if self.segments:
            return self.segments
        numbers = zip(self.lengths.tolist(), self.sampled.tolist(), self.turns.tolist(), strict=True)
        return [(SegmentSize(self.prompt_tokens, *sizes),) for sizes in numbers]

    def segments_of(self, member: int) -> tuple[SegmentSize, ...]:
        """The segments of a response, in order."""
        return self.every_segment[member]

    @property
    def unscored(self) -> int:
        return len(self.rewards) - int(np.isfinite(self.rewards).sum())

    @classmethod
    def of(cls, group: Group, scoring_s: float = 0.0, *, talks: bool = False) -> "GroupSummary":
        """The summary of a scored group."""
        verdicts, responses = group.verdicts, group.responses
        nan = float("nan")
        return cls(
            group_id=group.group_id,
            prompt_id=group.prompt.prompt_id,
            prompt_tokens=len(group.prompt.token_ids),
            lengths=np.array([sum(map(len, r.segments)) for r in responses], np.int64),
            rewards=np.array([nan if v.reward is None else v.reward for v in verdicts], np.float64),
            correct=np.array([nan if v.reward is None else v.parts.get("correct", v.reward) for v in verdicts], np.float64),
            truncated=np.array([r.finish is Finish.LENGTH for r in responses]),
            aborted=np.array([r.finish is Finish.ABORTED for r in responses]),
            oldest_version=min(part.oldest_version for r in responses for part in r.segments),
            newest_version=max(part.newest_version for r in responses for part in r.segments),
            outcomes=tuple(v.outcome for v in verdicts),
            failures=tuple(v.failure for v in verdicts if v.failure),
            parts={
                name: np.array([v.parts.get(name, nan) for v in verdicts]) for name in dict.fromkeys(n for v in verdicts for n in v.parts)
            },
            unfinished=np.array([v.unfinished for v in verdicts]),
            source=group.prompt.source,
            scoring_s=scoring_s,
            talks=talks,
            **_of_episodes(group),
        )


def _of_episodes(group: Group) -> dict[str, Any]:
    """The fields of a summary that say more of a response than that it has one turn."""
    responses, verdicts = group.responses, group.verdicts
    if not any(verdict.turn_rewards for verdict in verdicts) and all(response.is_plain for response in responses):
        return {}
    turns = np.array([sum(part.own_turns for part in r.segments) for r in responses], np.int64)
    for member, (verdict, number) in enumerate(zip(verdicts, turns, strict=True)):
        if verdict.turn_rewards and len(verdict.turn_rewards) != number:
            raise ValueError(
                f"response {member} of group {group.group_id} has {number} turns, but its verdict has {len(verdict.turn_rewards)} rewards "
                "of turns: it needs one for each"
            )
    by_turn = any(verdict.turn_rewards for verdict in verdicts)
    rewritten = any(r.later or r.prompt_ids is not None for r in responses)
    return {
        "sampled": np.array([r.sampled_tokens for r in responses], np.int64),
        "turns": turns,
        "turn_rewards": tuple(map(_rewards_of_turns, verdicts, turns.tolist())) if by_turn else None,
        "segments": tuple(_sizes(r, len(group.prompt.token_ids)) for r in responses) if rewritten else (),
        "tool_calls": np.array([r.tool_calls for r in responses], np.int64),
        "tool_errors": np.array([r.tool_errors for r in responses], np.int64),
        "cut_replies": np.array([r.cut_replies for r in responses], np.int64),
        "environment_s": np.array([r.environment_s for r in responses], np.float64),
    }


def _sizes(response: Response, prompt_tokens: int) -> tuple[SegmentSize, ...]:
    """The segments of a response; `prompt_tokens` are those of its group's prompt."""
    parts = response.segments
    widths = [prompt_tokens if part.prompt_ids is None else len(part.prompt_ids) for part in parts]
    return tuple(SegmentSize(width, len(part), part.own_tokens, part.own_turns) for width, part in zip(widths, parts, strict=True))


def _rewards_of_turns(verdict: Verdict, turns: int) -> NDArray[np.float64]:
    """The reward of every turn [K]: all of it is the last one's where the verdict does not say more."""
    if verdict.reward is None:
        return np.full(turns, np.nan)
    return np.array(verdict.turn_rewards or (0.0,) * (turns - 1) + (verdict.reward,), np.float64)
