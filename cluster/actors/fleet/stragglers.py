"""Groups that take much longer than their neighbours."""

import statistics
from collections import deque
from collections.abc import Iterable

from cluster.actors.fleet.race import Race

MANY = 3.0  # times the median: a long tail of lengths reaches ten times, but for few groups
LEAST_S = 10.0  # below it a group is never late


class Stragglers:
    """Knows how long the last groups took, and which of the running ones are late."""

    def __init__(self, groups: int) -> None:
        """`groups` of a step are compared."""
        self.seconds: deque[float] = deque(maxlen=groups)
        self.enough = max(2, groups // 2)

    def finished(self, seconds: float) -> None:
        """A group took so long."""
        self.seconds.append(seconds)

    def among(self, races: Iterable[Race], now: float) -> list[Race]:
        """The late ones, the oldest first; none while too few groups have finished to compare with."""
        if len(self.seconds) < self.enough:
            return []
        limit = max(LEAST_S, MANY * statistics.median(self.seconds))
        return sorted((race for race in races if now - race.since > limit), key=lambda race: race.since)

    def describe(self, race: Race, now: float) -> str:
        """One of them in words."""
        age, usual = now - race.since, statistics.median(self.seconds)
        where = " and ".join(engine.name for engine in race.engines) or "no engine"
        return f"group {race.ask.group_id} on {where} takes {age:.0f} s (median {usual:.1f} s)"
