"""A response as the learner sees it in the plan of a step."""

from typing import NamedTuple

Place = tuple[int, int]  # of a response: the position of its group among the step's groups, its own among the group's responses


class Row(NamedTuple):
    """One response to learn from; of an episode whose context was rewritten, one of its segments.

    A named tuple, since a frozen dataclass takes four times as long to make, and a large step has a hundred thousand.
    """

    group: int  # position of its group among the step's groups
    member: int  # position among the group's responses
    advantage: float  # of all its tokens, unless `by_turn` says more
    weight: float  # in the update's loss, of each token that the model sampled
    prompt_tokens: int
    tokens: int  # prompt and response, the environment's included
    segment: int = 0  # position among the response's segments
    first_turn: int = 0  # the turns of the response's earlier segments
    by_turn: tuple[float, ...] = ()  # the advantage of each of its turns; empty where they all have one

    @property
    def place(self) -> Place:
        return self.group, self.member

    @property
    def name(self) -> tuple[int, ...]:
        """Numbers that no other row of the step has: its place, and of a later segment its position too."""
        return (*self.place, self.segment) if self.segment else self.place

    @property
    def is_level(self) -> bool:
        """Whether every advantage is exactly 0."""
        return self.advantage == 0 and not any(self.by_turn)


MicroBatch = tuple[Row, ...]
