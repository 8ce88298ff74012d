"""A scored group as the driver sees it: numbers and a few texts. Its tokens stay on the node that made them."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NewType

from rollout.transcript.episode import Turn
from rollout.types import GroupSummary, Prompt, Response, Verdict

Reference = NewType("Reference", object)  # to an object in Ray's object store, or a `Packed`; only `cluster.actors` resolves it


@dataclass(frozen=True, slots=True)
class Packed:
    """The pickle of something small, which Ray carries as one piece of bytes instead of array by array.

    As a reference it has come with its object. No bytes alone: Ray would send each place a copy of those.
    """

    data: bytes

    @classmethod
    def of(cls, value: object) -> "Packed":
        """What `unpacked` makes `value` of again."""
        return cls(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def unpacked(value: Any) -> Any:
    """What was packed; anything else as it is."""
    return pickle.loads(value.data) if isinstance(value, Packed) else value


class Text(NamedTuple):
    """What the driver keeps of a response for people: its words and its verdict."""

    member: int  # of the group
    response: str  # of several turns the last one
    verdict: Verdict
    transcript: tuple[Turn, ...] = ()  # of several turns all of them
    versions: tuple[int, int] | None = None  # whose weights sampled the first and the last token, of an episode

    @classmethod
    def of(cls, member: int, response: Response, verdict: Verdict) -> "Text":
        """That part of a response."""
        versions = (response.oldest_version, response.newest_version) if response.transcript else None
        return cls(member, response.text, verdict, response.transcript, versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The tokens and the recorded experts of a group, an object for each response, so that a rank fetches its own responses only.

    Where all ranks are on one node, the tokens of a group are one object.
    """

    tokens: Sequence[Reference]  # [G], each to a `rollout.types.Sampled`, or all of them one and the same to a `SampledGroup`
    experts: Sequence[Reference] = ()  # [G], each to `rollout.types.Recorded`; empty if the engines record none
    words: Reference | None = None  # to a `Text` of every response, for a capsule; None if the run keeps none


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A group that an engine generated and the reward workers scored."""

    summary: GroupSummary
    texts: Sequence[Text]
    tokens: References | None  # None for a group that will not be learned, or was
    engine: int
    prompt: Prompt
    life: int = 0  # of the engine in its place: how often it was replaced before
    words: Reference | None = None  # as in References, after the tokens were freed

    @property
    def learnable(self) -> References:
        """The tokens of a group that will be learned."""
        assert self.tokens is not None, f"group {self.summary.group_id} is to be learned, but its tokens were freed"
        return self.tokens

    def without_tokens(self) -> "Scored":
        """The same without references, so that Ray frees the tokens at once."""
        return replace(self, tokens=None)

    def with_words_alone(self) -> "Scored":
        """The same without tokens, but with the words of all responses until its step has ended: a capsule may need them."""
        return replace(self, tokens=None, words=self.tokens.words if isinstance(self.tokens, References) else None)
