"""Several sources in one stream: which source gives each group, and which of its prompts."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from rollout.window.stream import Stream


class Mixture:
    """Gives every source its share of the groups, exactly, and each source its own order and epochs.

    After any number n of groups a source with share p has given p * n of them, rounded up or down. Its (j + 1)-th group comes within
    [j / p, (j + 1) / p]. Of the sources whose turn has come, the one whose turn ends first is taken. Nothing is drawn at random, so shares
    hold within every step as well as they can. Shares are counted before groups without signal are replaced.
    """

    def __init__(self, names: Sequence[str], streams: Sequence[Stream], sizes: Sequence[int], shares: Sequence[Fraction]) -> None:
        """`streams` are numbered by a source's own groups 0, 1, 2, ...; prompts are numbered through all sources."""
        assert len(names) == len(streams) == len(sizes) == len(shares) > 0
        assert all(share > 0 for share in shares)
        common = lcm(*(share.denominator for share in shares))
        self.names, self.streams, self.sizes = names, streams, sizes
        self.weights = [int(share * common) for share in shares]
        self.first = np.cumsum([0, *sizes])[:-1].tolist()  # the number of each source's first prompt
        self.given = [0] * len(names)  # groups of each source
        self.chosen: dict[int, tuple[int, int]] = {}  # group -> its source, and which of the source's groups it is; unsettled groups only

    def index(self, group_id: int) -> int:
        """The prompt of this group: decided in the order of groups, and remembered until the group is observed."""
        source, place = self._find(group_id)
        return int(self.first[source]) + self.streams[source].index(place)

    def epoch(self, group_id: int) -> int:
        """Completed passes over the prompts of the group's source."""
        source, place = self._find(group_id)
        return self.streams[source].epoch(place)

    def observe(self, group_id: int, correct: NDArray[np.float64]) -> None:
        """Settle a group; its prompt is not known afterwards."""
        source, place = self._find(group_id)
        self.streams[source].observe(place, correct)
        del self.chosen[group_id]

    def end_step(self) -> dict[str, float]:
        """Each source's own metrics, and how often its prompts have been given."""
        values: dict[str, float] = {}
        for name, stream, size, given in zip(self.names, self.streams, self.sizes, self.given, strict=True):
            values |= {f"source/{name}/{key}": value for key, value in stream.end_step().items()}
            values[f"source/{name}/epochs"] = given / size
        return values

    def state(self) -> dict[str, NDArray[np.generic]]:
        """How many groups each source gave, the unsettled groups, and the sources' own states under their names."""
        chosen = np.array([(group_id, *found) for group_id, found in self.chosen.items()], np.int64).reshape(-1, 3)
        arrays: dict[str, NDArray[np.generic]] = {"mixture/given": np.array(self.given, np.int64), "mixture/chosen": chosen}
        for name, stream in zip(self.names, self.streams, strict=True):
            arrays |= {f"source/{name}/{key}": array for key, array in stream.state().items()}
        return arrays

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue where `state` was taken."""
        given = state.get("mixture/given")
        if given is None or given.shape != (len(self.names),):
            raise ValueError(
                f"the checkpoint is not of a run with the sources {', '.join(self.names)}: continue it with the sources it began with"
            )
        self.given = [int(count) for count in given]
        self.chosen = {group_id: (source, place) for group_id, source, place in state["mixture/chosen"].tolist()}
        for name, stream in zip(self.names, self.streams, strict=True):
            prefix = f"source/{name}/"
            stream.load({key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)})

    def _find(self, group_id: int) -> tuple[int, int]:
        while (number := sum(self.given)) <= group_id:
            source = self._next(number)
            self.chosen[number] = source, self.given[source]
            self.given[source] += 1
        if group_id not in self.chosen:
            raise ValueError(
                f"group {group_id} is settled, so its prompt is no longer known: ask for it before it is observed, or ask for a later group"
            )
        return self.chosen[group_id]

    def _next(self, number: int) -> int:
        """The source of group `number`. One is always due: together the sources have given exactly `number` groups."""
        whole = sum(self.weights)
        due = [source for source, given in enumerate(self.given) if given * whole <= number * self.weights[source]]
        return min(due, key=lambda source: Fraction(self.given[source] + 1, self.weights[source]))
