"""A scored group as the driver sees it: numbers and a few texts. Its tokens stay on the node that made them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from rollout.types import GroupSummary, Prompt, Verdict

Text = tuple[int, str, Verdict]  # member of the group, its text, its verdict
GroupReference = NewType("GroupReference", object)  # to a rollout.types.Group in Ray's object store; only `cluster.actors` resolves it


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A group that an engine generated and the reward workers scored."""

    summary: GroupSummary
    texts: Sequence[Text]
    tokens: GroupReference | None  # None for a group that will not be learned
    engine: int
    prompt: Prompt

    @property
    def learnable(self) -> GroupReference:
        """The tokens of a group that will be learned."""
        assert self.tokens is not None, f"group {self.summary.group_id} is to be learned, but its tokens were freed"
        return self.tokens
