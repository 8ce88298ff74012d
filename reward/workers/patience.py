"""How long an item may hold up the queue: a little longer than other items of its checker took."""

from collections import deque
from collections.abc import Iterable

from reward.workers.tasks import Task
from reward.workers.worker_owner import WorkerProcess

WINDOW = 128
ENOUGH = 8  # durations to judge by
USUAL = 0.95  # share of items that are no slower than the usual time
TIMES = 1.5
SHORTEST_S, FIRST_S = 0.02, 0.5
FRESH_ITEMS, FRESH_TIMES = 4, 2


class Patience:
    """Learns how long items take, for each checker by itself.

    An item may take one and a half times as long as 95 % of the last items took, at least 20 ms, at most a quarter of timeout_s. A checker
    with too few items is judged by the items of all checkers; before there are enough of those, the time is half a second.
    """

    def __init__(self, timeout_s: float) -> None:
        self._longest = timeout_s / 4
        self._seen: dict[str, deque[float]] = {}
        self._all: deque[float] = deque(maxlen=WINDOW)
        self._known: dict[str, float] = {}
        self._general = min(FIRST_S, self._longest)
        self._learned = 0

    def of(self, worker: WorkerProcess, task: Task) -> float:
        """Seconds that the task may take on this worker: twice as many on a fresh one, whose caches are empty."""
        return self.of_checker(task.item.checker) * (FRESH_TIMES if worker.reported < FRESH_ITEMS else 1)

    def of_checker(self, checker: str) -> float:
        """Seconds that an item of this checker may take."""
        return self._known.get(checker, self._general)

    def learn(self, checker: str, seconds: float) -> None:
        """Take the duration of an item into account."""
        seen = self._seen.setdefault(checker, deque(maxlen=WINDOW))
        seen.append(seconds)
        self._all.append(seconds)
        self._learned += 1
        if self._learned % ENOUGH == 0:
            self._general = self._patience(self._all)
            if len(seen) >= ENOUGH:
                self._known[checker] = self._patience(seen)

    def _patience(self, durations: Iterable[float]) -> float:
        ordered = sorted(durations)
        return min(self._longest, max(SHORTEST_S, TIMES * ordered[int(USUAL * (len(ordered) - 1))]))
