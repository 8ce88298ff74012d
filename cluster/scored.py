"""A scored group as the driver has it: numbers and a few texts; its tokens stay where they were made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from rollout.types import GroupSummary, Prompt, Verdict

Text = tuple[int, str, Verdict]  # member of the group, its text, its verdict
GroupReference = NewType("GroupReference", object)  # to a rollout.types.Group in Ray's object store; only `cluster.actors` follows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A group that an engine generated and the reward workers scored."""

    summary: GroupSummary
    texts: Sequence[Text]
    tokens: GroupReference | None  # None once it is known that the group will not be learned
    engine: int
    prompt: Prompt
