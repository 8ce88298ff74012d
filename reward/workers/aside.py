"""How many slow items may be under way at once, and which of them has to wait when there are too many."""

import os
from collections.abc import Sequence

from reward.workers.worker_owner import WorkerProcess

SHORT_STAY_S = 0.5  # of its own time, or
WALL_TIMES = 4  # times as much on the clock


class Aside:
    """The places for slow items: two a worker, as long as all workers together cannot fill more than half of the machine's memory.

    A short stay needs no place: most items that are slow at all end soon. As many as there are places may be on a short stay.
    """

    def __init__(self, workers: int, timeout_s: float, memory_mb: int) -> None:
        machine_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
        self.places = max(1, min(2 * workers, machine_mb // 2 // memory_mb - workers))
        self.short_s = min(SHORT_STAY_S, timeout_s / 4)

    def has_place(self, aside: Sequence[WorkerProcess], coming: int = 0) -> bool:
        """Whether one more may stay, beside those that do and those that are about to."""
        return sum(worker.staying for worker in aside) + coming < self.places

    def is_long(self, own_s: float, wall_s: float) -> bool:
        return own_s >= self.short_s or wall_s >= WALL_TIMES * self.short_s

    def who_makes_room(self, aside: Sequence[WorkerProcess]) -> WorkerProcess | None:
        """Of too many the one that has been on a short stay for longest; None while there are not too many."""
        short = [worker for worker in aside if not worker.staying]
        return min(short, key=lambda worker: worker.clock.since) if len(short) >= self.places else None
