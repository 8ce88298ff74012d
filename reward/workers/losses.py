"""Which item is to blame when a worker dies, and how often it is tried again."""

from collections.abc import Callable
from itertools import islice

from reward.workers.crew import Crew
from reward.workers.task_queue import TaskQueue
from reward.workers.tasks import Item
from reward.workers.worker_owner import Place, WorkerProcess
from rollout.types import Outcome

MAX_CRASHES = 2  # a worker may be killed from outside once while it scores an item
MAX_LOSSES = 3  # and the template, with all its workers, twice


class Losses:
    """Takes dead workers out of the crew and decides about their tasks.

    A task that its worker had not begun goes back to the queue. The task that it was scoring is tried once more, aside. When a second
    worker dies of it, it fails and is quarantined, and `on_quarantine` hears of it. When the template dies, no task is to blame; a task
    that loses three templates fails.
    """

    def __init__(self, crew: Crew, queue: TaskQueue, on_quarantine: Callable[[Item, str], None]) -> None:
        self._crew, self._queue, self._on_quarantine = crew, queue, on_quarantine

    def unborn(self, worker: WorkerProcess) -> None:
        """The template could not fork this worker."""
        del self._crew.workers[worker.serial]
        self._requeue(worker)
        self._crew.release(worker)

    def lose(self, worker: WorkerProcess, how: str) -> None:
        """Kill a worker that misbehaves, and blame its current item."""
        self._blame(worker, how)
        self._crew.kill(worker)

    def ended(self, worker: WorkerProcess, how: str) -> None:
        """A worker's process has ended."""
        del self._crew.workers[worker.serial]
        self._requeue(worker)
        if worker.place is not Place.ENDING:
            self._blame(worker, how)
            self._crew.release(worker)

    def _requeue(self, worker: WorkerProcess) -> None:
        """Queue the slow task again that the worker was forked for and never began."""
        if worker.meant_for is not None:
            self._queue.put_aside(worker.meant_for, first=True)

    def _blame(self, worker: WorkerProcess, how: str) -> None:
        self._queue.give_back(worker.take_back())
        if (task := worker.current) is None:
            return None
        worker.done += 1
        if (
            earlier := self._queue.quarantine.find(task.payload)
        ) is not None:  # an equal item was scored at the same time, and has killed two workers
            return task.fail(Outcome.CRASHED, f"crash: quarantined: {earlier}")
        task.crashes += 1
        if task.crashes < MAX_CRASHES:
            return self._queue.put_aside(task, first=True)
        self._queue.quarantine.add(task.payload, how)
        self._on_quarantine(task.item, how)
        return task.fail(Outcome.CRASHED, how)

    def template_lost(self, how: str) -> None:
        """Every worker has died with the template: their tasks are scored again, but only MAX_LOSSES - 1 times."""
        for worker in list(self._crew.workers.values()):
            del self._crew.workers[worker.serial]
            if worker.place is Place.ENDING:
                continue
            self._requeue(worker)
            self._queue.give_back(worker.take_back())
            for task in islice(worker.tasks, worker.done, None):
                task.losses += 1
                if task.losses >= MAX_LOSSES:
                    task.fail(Outcome.CRASHED, f"crash: {how} {MAX_LOSSES} times while this was scored")
                else:
                    self._queue.put_aside(task, first=True)
            self._crew.release(worker)
