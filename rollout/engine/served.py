"""Which version of the weights an engine served at a moment."""

import time
from bisect import bisect_right


class ServedVersions:
    """The versions of one engine with the times from which it served them.

    An engine generates nothing while its weights change, so the version at the time of a token is that of the weights that sampled it.
    Times are on the machine's monotonic clock, which all its processes share.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._versions: list[int] = []

    @property
    def newest(self) -> int:
        """The version served now; -1 for the weights that the engine started with."""
        return self._versions[-1] if self._versions else -1

    def begin(self, version: int) -> None:
        """From now on the engine serves `version`."""
        self._times.append(time.monotonic())
        self._versions.append(version)

    def at(self, moment: float) -> int:
        """The version served at `moment`, which is -1 before the first one."""
        place = bisect_right(self._times, moment)
        return self._versions[place - 1] if place else -1
