"""An answer of an engine: its tokens, which of them the model sampled, and what is known of each; numpy only.

Legend for shapes: P prompt tokens, T tokens after the prompt, L decoder layers, K experts a token (in `turns`: turns of the model).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.pickled import quickly_pickled
from rollout.transcript.episode import Turn

Experts = NDArray[np.uint8] | NDArray[np.uint16]  # [P+T-1, L, K]; layers without experts have a column too
Recorded = Experts | tuple[Experts | None, ...] | None  # of a response: an array, or of several segments one for each


class Finish(StrEnum):
    """Why a response ended."""

    STOP = "stop"  # the model ended it with a stop token
    LENGTH = "length"  # the token budget ran out: truncated
    ABORTED = "aborted"  # the engine aborted it; not learned


class Spans:
    """What tells the tokens that the model sampled from those of an environment, from `token_ids` [T] and `turns` [K, 2]."""

    __slots__ = ()
    token_ids: NDArray[np.int32]
    turns: NDArray[np.int32] | None

    def __len__(self) -> int:
        """All tokens after the prompt."""
        return int(self.token_ids.shape[0])

    @property
    def spans(self) -> NDArray[np.int32]:
        """Where each turn of the model begins and ends [K, 2]; without `turns` there is one, of all tokens."""
        return np.array([[0, len(self)]], np.int32) if self.turns is None else self.turns

    @property
    def sampled(self) -> NDArray[np.bool_]:
        """Which tokens the model sampled [T]."""
        if self.turns is None:
            return np.ones(len(self), np.bool_)
        own = np.zeros(len(self), np.bool_)
        for begin, end in self.turns:
            own[begin:end] = True
        return own

    @property
    def own_tokens(self) -> int:
        """How many tokens the model sampled."""
        return len(self) if self.turns is None else int((self.turns[:, 1] - self.turns[:, 0]).sum())

    @property
    def own_turns(self) -> int:
        """How many turns of the model there are."""
        return 1 if self.turns is None else len(self.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Spans):
    """A part of an episode that begins with a context of its own, because an environment rewrote it."""

    prompt_ids: NDArray[np.int32]  # [P], the rewritten context
    token_ids: NDArray[np.int32]  # [T]
    logprobs: NDArray[np.float32] | None  # [T], 0 on tokens that the model did not sample
    oldest_version: int
    newest_version: int
    turns: NDArray[np.int32] | None = None  # as in Response
    routed_experts: Experts | None = None

    @property
    def sampled_tokens(self) -> int:
        """How many tokens the model sampled."""
        return self.own_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Spans):
    """An engine's answer to a prompt, exactly as it was sampled; of several turns, the whole episode.

    Length, spans and experts are those of its first segment, which follows the prompt.
    """

    token_ids: NDArray[np.int32]  # [T], with the stop token if there is one; first and last token are sampled
    logprobs: NDArray[np.float32] | None  # [T], under the weights and temperature that sampled them; None if not asked for
    finish: Finish
    oldest_version: int  # step whose weights sampled the first token
    newest_version: int  # step whose weights sampled the last token, of all segments
    text: str  # decoded, for checkers and people only; of several turns the last one's
    routed_experts: Experts | None = None
    turns: NDArray[np.int32] | None = (
        None  # [K, 2], where each turn of the model begins and ends in token_ids; None: all tokens are its own
    )
    prompt_ids: NDArray[np.int32] | None = None  # [P], where an agent began with another context than the group's prompt
    later: tuple[Segment, ...] = ()  # what follows each rewritten context
    transcript: tuple[Turn, ...] = ()  # of all segments; empty for one turn without an answer
    tool_calls: int = 0
    tool_errors: int = 0  # those whose answer is an error that the model caused
    cut_replies: int = 0  # words that were longer than `rollout.max_reply_tokens`
    environment_s: float = 0.0  # from questions to answers, all turns together

    @property
    def is_plain(self) -> bool:
        """Whether it is one turn of the model to the prompt as it is, with nothing to tell of tools and environments."""
        told = self.later or self.tool_calls or self.tool_errors or self.cut_replies or self.environment_s
        return self.turns is None and self.prompt_ids is None and not told

    @property
    def segments(self) -> tuple["Response | Segment", ...]:
        """The first segment, which is this response itself, and what follows each rewritten context."""
        return (self, *self.later)

    @property
    def sampled_tokens(self) -> int:
        """How many tokens the model sampled, in all segments."""
        return sum(segment.own_tokens for segment in self.segments)

    @property
    def recorded(self) -> Recorded:
        """The recorded experts as they travel: of several segments, those of each."""
        return tuple(segment.routed_experts for segment in self.segments) if self.later else self.routed_experts


@quickly_pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled(Spans):
    """What every learned response brings to its rank; recorded experts travel apart, the text and the verdict stay behind."""

    token_ids: NDArray[np.int32]  # [T]
    logprobs: NDArray[np.float32] | None  # [T]
    oldest_version: int
    newest_version: int
    turns: NDArray[np.int32] | None = None  # as in Response
    prompt_ids: NDArray[np.int32] | None = None  # [P], of a segment with a context of its own; None: the group's prompt
    later: tuple["Sampled", ...] = ()  # the later segments

    @classmethod
    def of(cls, response: Response) -> "Sampled":
        """That part of a response."""
        later = tuple(cls(**_sampled(each), prompt_ids=each.prompt_ids) for each in response.later)
        return cls(**_sampled(response), prompt_ids=response.prompt_ids, later=later)

    def segment(self, number: int) -> "Sampled":
        """A segment of it, counted from 0."""
        return self.later[number - 1] if number else self


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """All responses of a group in one object, for ranks that all fetch from one node anyway."""

    responses: tuple[Sampled, ...]  # [G]

    def __reduce__(self) -> tuple[Any, ...]:
        """Responses of one turn each travel as columns: a pickle takes as long for an array of four tokens as for one of a thousand."""
        reported = {one.logprobs is not None for one in self.responses}
        if len(reported) != 1 or any(one.turns is not None or one.prompt_ids is not None or one.later for one in self.responses):
            return SampledGroup, (self.responses,)
        logprobs = np.concatenate([one.logprobs for one in self.responses if one.logprobs is not None]) if reported == {True} else None
        versions = [(len(one), one.oldest_version, one.newest_version) for one in self.responses]
        return _group_of_columns, (np.concatenate([one.token_ids for one in self.responses]), logprobs, versions)


def _group_of_columns(
    token_ids: NDArray[np.int32], logprobs: NDArray[np.float32] | None, versions: Sequence[tuple[int, int, int]]
) -> SampledGroup:
    """The group of the tokens of its responses behind one another, with each one's length, oldest and newest version."""
    responses, begin = [], 0
    for length, oldest, newest in versions:
        part = slice(begin, begin + length)
        own = None if logprobs is None else logprobs[part]
        responses.append(Sampled(token_ids=token_ids[part], logprobs=own, oldest_version=oldest, newest_version=newest))
        begin += length
    return SampledGroup(tuple(responses))


def _sampled(part: Response | Segment) -> dict[str, Any]:
    return {name: getattr(part, name) for name in ("token_ids", "logprobs", "oldest_version", "newest_version", "turns")}
