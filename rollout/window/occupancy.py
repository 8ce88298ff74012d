"""How full the window of groups in flight is, as means over time."""

import time
from collections.abc import Callable, Mapping
from typing import Literal

State = Literal["free", "generating", "answering", "scoring", "finished", "waiting"]
STATES: tuple[State, ...] = ("free", "generating", "scoring", "finished", "waiting")  # "answering" only where there are episodes


class Occupancy:
    """Counts slots by state and integrates the counts over time.

    generating: an engine has the group; answering: all its unfinished responses wait for an environment or a tool; scoring: its responses
    wait for verdicts; finished: worth learning and not taken yet; waiting: taken, and the weights learned from it are not published yet.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.counts: dict[State, int] = {state: 0 for state in STATES} | {"free": size}
        self._areas: dict[State, float] = dict.fromkeys(STATES, 0.0)
        self._began = clock()
        self._since: dict[State, float] = dict.fromkeys(STATES, self._began)  # to which moment each area is known

    def move(self, before: State, after: State) -> None:
        """One slot changes its state."""
        now = self.clock()
        self._advance(before, now)
        self._advance(after, now)
        self.counts[before] -= 1
        self.counts[after] += 1

    def spent(self, seconds: Mapping[State, float]) -> None:
        """A group that counted as generating spent so many seconds in these states, which only its engine knew."""
        for state, length in seconds.items():
            if length:
                self._areas["generating"] -= length
                self._areas[state] = self._areas.get(state, 0.0) + length

    def means(self) -> Mapping[State, float]:
        """The mean number of slots in each state since the last call."""
        now = self.clock()
        for state in STATES:
            self._advance(state, now)
        whole = now - self._began
        # A group whose scoring began before the last call may have moved more seconds than this stretch has.
        found = {state: max(area / whole, 0.0) if whole > 0 else float(self.counts.get(state, 0)) for state, area in self._areas.items()}
        # A state that has been seen stays among them.
        self._areas, self._began = dict.fromkeys(self._areas, 0.0), now
        return found

    def _advance(self, state: State, now: float) -> None:
        self._areas[state] += self.counts[state] * (now - self._since[state])
        self._since[state] = now
