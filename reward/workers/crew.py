"""The workers of a pool by the place where they stand, and what their owner can have done to them."""

import math
from collections.abc import Callable

from reward.workers.worker_owner import Place, WorkerProcess

NEVER = math.inf


class Crew:
    """Every worker that the pool has. `ask` sends the template a request about a worker; `release` closes its descriptors."""

    def __init__(self, ask: Callable[[str, WorkerProcess], None], release: Callable[[WorkerProcess], None]) -> None:
        self.workers: dict[int, WorkerProcess] = {}  # by serial
        self.ask, self.release = ask, release

    def at(self, place: Place) -> list[WorkerProcess]:
        """The workers that stand there now."""
        return [worker for worker in list(self.workers.values()) if worker.place is place]

    def kill(self, worker: WorkerProcess) -> None:
        worker.place, worker.look_at = Place.ENDING, NEVER
        self.release(worker)
        self.ask("kill", worker)

    def move_aside(self, worker: WorkerProcess) -> None:
        """Have its slow item scored in time that no other process wants."""
        worker.place, worker.lowered = Place.ASIDE, True
        self.ask("lower", worker)

    def move_back(self, worker: WorkerProcess) -> None:
        """Have its priority restored, after its slow item; the template answers "raised"."""
        worker.place, worker.staying, worker.lowered = Place.RETURNING, False, False
        self.ask("raise", worker)
