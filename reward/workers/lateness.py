"""Who is late: an item that is slower than its like makes way, and an item whose time is over fails."""

from collections.abc import Callable

from reward.workers.aside import WALL_TIMES, Aside
from reward.workers.crew import NEVER, Crew
from reward.workers.losses import Losses
from reward.workers.patience import Patience
from reward.workers.task_queue import TaskQueue
from reward.workers.tasks import Task
from reward.workers.worker_owner import Place, WorkerProcess
from rollout.types import Outcome

START_S = 60.0  # to start a worker, to take a chunk, to import a checker
GONE_S = 1.0  # between a worker's last word and its end
SOON_S = 0.005


class Lateness:
    """Looks at the workers whose `look_at` has come. `hear` takes in what a worker has reported."""

    def __init__(
        self, crew: Crew, queue: TaskQueue, losses: Losses, patience: Patience, aside: Aside, timeout_s: float,
        hear: Callable[[WorkerProcess], None],
    ) -> None:  # fmt: skip
        self._crew, self._queue, self._losses, self._patience, self._aside = crew, queue, losses, patience, aside
        self._timeout_s, self._hear = timeout_s, hear

    def look(self, now: float) -> float:
        """Deal with every worker that is late; when to look next, by time.monotonic."""
        for worker in [worker for worker in self._crew.workers.values() if worker.look_at <= now]:
            self._hear(worker)  # a verdict that has arrived is not late, however late we look
            if worker.look_at <= now and worker.place is not Place.ENDING:
                self._look(worker, now)
        return min((worker.look_at for worker in self._crew.workers.values()), default=NEVER)

    def _look(self, worker: WorkerProcess, now: float) -> None:
        worker.look_at = now + SOON_S
        task = worker.current
        if worker.closed and now < worker.closed_at + GONE_S:  # the template will report its end
            worker.look_at = worker.closed_at + GONE_S
        elif worker.closed or task is None:  # its channel is closed, or it never noticed that its chunk was taken back
            self._losses.lose(worker, "crash: the worker closed its channel")
        elif worker.loading:
            self._late(worker, task, f"more than {START_S:g} s to import the checker")
        elif worker.place is Place.FRONT and (early := self._patience.of(worker, task) - worker.clock.spent(now)) > 0:
            worker.look_at = now + max(SOON_S, early)
        elif worker.place is Place.FRONT and not self._begun(worker):
            if now - worker.clock.since > START_S:
                self._late(worker, task, f"the worker took no chunk in {START_S:g} s")
        else:
            self._look_at_item(worker, worker.current, now)

    def _begun(self, worker: WorkerProcess) -> bool:
        """Take back the tasks that the worker has not begun; False when it has not begun any: then it keeps the first."""
        back = worker.take_back()
        if not worker.tasks:
            worker.offer(back.pop(0))
            self._queue.give_back(back)
            return False
        self._queue.give_back(back)
        return True

    def _look_at_item(self, worker: WorkerProcess, task: Task | None, now: float) -> None:
        """Let a slow item make way, and fail it when its time is over."""
        if task is None:  # it was between two items, and the rest of its chunk was taken back
            worker.look_at = now + GONE_S
            return
        own, wall = worker.clock.spent(now), now - worker.clock.since
        left = min(self._timeout_s - own, WALL_TIMES * self._timeout_s - wall)
        if own >= self._timeout_s:
            self._late(worker, task, f"more than {self._timeout_s:g} s to {task.item.work}")
        elif left <= 0 and worker.lowered and not task.starved:
            task.starved = True
            self._postpone(worker)
        elif left <= 0:
            self._late(worker, task, f"too slow to {task.item.work}: {wall:.1f} s on a busy machine; {own:.1f} s of them were its own")
        elif worker.place is Place.FRONT:
            self._make_room()
            self._crew.move_aside(worker)
        elif task.call.over:
            self._crew.kill(worker)
        elif not worker.staying and self._aside.is_long(own, wall) and not self._aside.has_place(self._crew.at(Place.ASIDE)):
            self._postpone(worker)
        else:
            worker.staying = worker.staying or self._aside.is_long(own, wall)
            worker.look_at = now + max(SOON_S, min(left, 1.0 if worker.staying else self._aside.short_s - own))

    def _make_room(self) -> None:
        for other in self._crew.at(Place.ASIDE):
            self._hear(other)
        if (oldest := self._aside.who_makes_room(self._crew.at(Place.ASIDE))) is not None:
            self._postpone(oldest)

    def _postpone(self, worker: WorkerProcess) -> None:
        """End a worker that is aside; its item will be scored from the start later."""
        if worker.current is not None:
            self._queue.put_aside(worker.current, first=worker.current.starved)
        self._crew.kill(worker)

    def _late(self, worker: WorkerProcess, task: Task, why: str) -> None:
        task.fail(Outcome.TIMED_OUT, f"timeout: {why}")
        worker.done += 1
        self._queue.give_back(worker.take_back())
        self._crew.kill(worker)
