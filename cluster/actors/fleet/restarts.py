"""How often an engine may be started again."""

from collections import deque

PAUSE_S = 1.0  # before a second start; the memory of the process before may not be free yet
LONGER = 4.0  # times the pause before, for each further start within the window


class Restarts:
    """The starts of one place beyond its first, within a window of time."""

    def __init__(self, most: int, window_s: float) -> None:
        self.most, self.window_s = most, window_s
        self.times: deque[float] = deque()

    def left(self, now: float) -> int:
        """How many more there may be now."""
        while self.times and now - self.times[0] > self.window_s:
            self.times.popleft()
        return max(0, self.most - len(self.times))

    def take(self, now: float) -> float:
        """Count one; returns the seconds to wait before it."""
        self.times.append(now)
        return PAUSE_S * LONGER ** (len(self.times) - 1)
