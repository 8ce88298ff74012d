"""How many slow items may run at once, and which of them must wait when there are too many."""

import os
from collections.abc import Sequence

from reward.workers.worker_owner import WorkerProcess

SHORT_STAY_S = 0.5  # of the item's own time
WALL_TIMES = 4  # times a limit of own time that may pass on the clock


class Aside:
    """The places for slow items: two a worker, unless all workers together could then fill more than half of the machine's memory.

    Items running slow for less than short_s need no place; at most `places` of them at once.
    """

    def __init__(self, workers: int, timeout_s: float, memory_mb: int) -> None:
        machine_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
        self.places = max(1, min(2 * workers, machine_mb // 2 // memory_mb - workers))
        self.short_s = min(SHORT_STAY_S, timeout_s / 4)

    def has_place(self, aside: Sequence[WorkerProcess], coming: int = 0) -> bool:
        """Whether a place is free; `coming` workers are on their way to one."""
        return sum(worker.staying for worker in aside) + coming < self.places

    def is_long(self, own_s: float, wall_s: float) -> bool:
        return own_s >= self.short_s or wall_s >= WALL_TIMES * self.short_s

    def who_makes_room(self, aside: Sequence[WorkerProcess]) -> WorkerProcess | None:
        """The worker whose short stay is the longest, when there are too many of them; else None."""
        short = [worker for worker in aside if not worker.staying]
        return min(short, key=lambda worker: worker.clock.since) if len(short) >= self.places else None
