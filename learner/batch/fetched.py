"""What a rank has fetched of a step: the tokens of its rows, and recorded experts only of the rows that use them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from configs.schema import Config
from learner.batch.row import Place, Row
from rollout.types import Experts, Group, Recorded, Sampled


class Source(Protocol):
    """Where a rank gets the tokens of a step's responses; answers are in the order of the places."""

    def prompt(self, group: int) -> NDArray[np.int32]:
        """The tokens of a group's prompt [P]."""

    def sampled(self, places: Sequence[Place]) -> Sequence[Sampled]:
        """The responses at these places."""

    def experts(self, places: Sequence[Place]) -> Sequence[Recorded]:
        """Their recorded experts, None for a response without any; of several segments, those of each."""


class Fetched:
    """The responses of some rows. It has the recorded experts of a row only after `fetch_experts` was called for it."""

    def __init__(self, source: Source, rows: Iterable[Row]) -> None:
        self.source = source
        places = list(dict.fromkeys(row.place for row in rows))  # segments of a response share its place
        self._sampled = dict(zip(places, source.sampled(places), strict=True))
        self._experts: dict[Place, Recorded] = {}

    def fetch_experts(self, rows: Iterable[Row]) -> None:
        """Fetch the recorded experts of these rows; what is here already is not fetched again."""
        places = list(dict.fromkeys(row.place for row in rows if not self.has_experts(row)))
        self._experts |= zip(places, self.source.experts(places), strict=True)

    def prompt(self, row: Row) -> NDArray[np.int32]:
        """The row's prompt [P]; of a later segment, the context that an environment wrote."""
        rewritten = self.response(row).prompt_ids
        return self.source.prompt(row.group) if rewritten is None else rewritten

    def response(self, row: Row) -> Sampled:
        """The row's tokens; of several segments, those of its own."""
        return self._sampled[row.place].segment(row.segment)

    def has_experts(self, row: Row) -> bool:
        """Whether the row's recorded experts were fetched."""
        return row.place in self._experts

    def experts(self, row: Row) -> Experts | None:
        """The row's recorded experts, None if the engine reported none; KeyError if they were not fetched."""
        recorded = self._experts[row.place]
        return recorded[row.segment] if isinstance(recorded, tuple) else recorded


def fetch(config: Config, source: Source, rows: Sequence[Row]) -> Fetched:
    """The tokens of a rank's rows. Their recorded experts too if all are replayed, or if all are compared because no sample is drawn."""
    fetched = Fetched(source, rows)
    if config.rollout.capture_routing and (config.learner.routing == "replay_rollout" or not config.mismatch.share):
        fetched.fetch_experts(rows)
    return fetched


class InMemory:
    """A source of whole groups in this process, by their positions among the step's groups."""

    def __init__(self, groups: Mapping[int, Group] | Sequence[Group]) -> None:
        self.groups = groups

    def prompt(self, group: int) -> NDArray[np.int32]:
        return self.groups[group].prompt.token_ids

    def sampled(self, places: Sequence[Place]) -> Sequence[Sampled]:
        return [Sampled.of(self.groups[group].responses[member]) for group, member in places]

    def experts(self, places: Sequence[Place]) -> Sequence[Recorded]:
        return [self.groups[group].responses[member].recorded for group, member in places]


def fetch_all(groups: Mapping[int, Group] | Sequence[Group], rows: Sequence[Row]) -> Fetched:
    """Some rows of whole groups in this process, with their recorded experts."""
    fetched = Fetched(InMemory(groups), rows)
    fetched.fetch_experts(rows)
    return fetched
