"""Which worker scores what: work is given out, reports come in, and a worker whose chunk is done finds its next place.

`reward.workers.supervisor` draws the places of a worker and calls in here. `reward.workers.lateness` says what becomes of slow items,
`reward.workers.losses` of the items of dead workers.
"""

import time
from collections.abc import Callable, Sequence

from reward.workers.aside import Aside
from reward.workers.crew import NEVER, Crew
from reward.workers.lateness import START_S, Lateness
from reward.workers.losses import MAX_CRASHES, Losses
from reward.workers.patience import Patience
from reward.workers.protocol import Message, State
from reward.workers.task_queue import TaskQueue
from reward.workers.tasks import Item, Task
from reward.workers.worker_owner import Place, WorkerGone, WorkerProcess
from rollout.types import Outcome, Verdict

FULL = 0.9  # of memory_mb: a library that swallows MemoryError would turn right answers into wrong ones
SPARES = 2
MAX_OUTPUT_BYTES = 1 << 20


class Lanes:
    """The tasks of a pool's workers: `crew` holds the workers, `lateness` and `losses` deal with late and dead ones."""

    def __init__(
        self, queue: TaskQueue, crew: Crew, *, workers: int, timeout_s: float, memory_mb: int,
        on_quarantine: Callable[[Item, str], None],
    ) -> None:  # fmt: skip
        self.crew = crew
        self.losses = Losses(crew, queue, on_quarantine)
        self._patience, self._aside = Patience(timeout_s), Aside(workers, timeout_s, memory_mb)
        self.lateness = Lateness(crew, queue, self.losses, self._patience, self._aside, timeout_s, self.hear)
        self._queue, self._front, self._memory_mb = queue, workers, memory_mb

    def arrange(self, now: float) -> None:
        """Fill the places and hand out what waits."""
        front, spares = self.crew.at(Place.FRONT), self.crew.at(Place.SPARE)
        while len(front) < self._front and spares:
            front.append(spares.pop())
            front[-1].place = Place.FRONT
        for worker in front:
            if worker.idle and (chunk := self._queue.take()):
                self._assign(worker, chunk, now)

    def wanted(self) -> list[Task | None]:
        """The workers to fork: for the front, or each for a slow task."""
        starting = self.crew.at(Place.STARTING)
        ordinary = sum(worker.meant_for is None for worker in starting)
        forks: list[Task | None] = [None] * (
            self._front + SPARES - len(self.crew.at(Place.FRONT)) - len(self.crew.at(Place.SPARE)) - ordinary
        )
        aside, coming = self.crew.at(Place.ASIDE), len(starting) - ordinary
        while self._aside.has_place(aside, coming) and (task := self._queue.take_slow()) is not None:
            forks.append(task)
            coming += 1
        return forks

    def _assign(self, worker: WorkerProcess, tasks: Sequence[Task], now: float) -> None:
        worker.assign(tasks, now)
        worker.look_at = now + self._patience.of(worker, tasks[0])

    def hear(self, worker: WorkerProcess) -> None:
        """Take in the worker's new reports."""
        try:
            for message in worker.messages():
                self._take(worker, message, time.monotonic())
        except WorkerGone as gone:
            self.losses.lose(worker, str(gone))

    def _take(self, worker: WorkerProcess, message: Message, now: float) -> None:
        if worker.place is Place.ENDING:
            return
        task = worker.current
        match message.state:
            case State.STARTED if worker.place is Place.STARTING:
                self._begin(worker, now)
                return
            case State.DROPPED:
                self._queue.give_back(worker.take_back())
                worker.dropping = False
                self._finish(worker)
                return
        if task is None or message.item != worker.done:
            raise WorkerGone(f"crash: the worker spoke of item {message.item}, expected {worker.done if task else 'none'}")
        if message.state in (State.MEMORY, State.FILLED):
            if message.state is State.FILLED:
                task.crashes = MAX_CRASHES - 1  # a fresh worker would fare no better
            raise WorkerGone(f"memory: the checker needs more than memory_mb={self._memory_mb}")
        took = worker.clock.took(now)
        worker.clock.restart(now)
        worker.loading = message.state is State.LOADING
        if message.state in (State.LOADING, State.LOADED):
            worker.look_at = now + (START_S if worker.loading else self._patience.of(worker, task))
            return
        worker.count_report()
        self._patience.learn(task.item.checker, took)
        if message.state is State.SCORED:
            parts = {"correct": message.reward}
            task.settle(Verdict(reward=message.reward, parts=parts, words=message.words, turn_rewards=tuple(message.turns)))
        else:
            task.fail(Outcome.UNSCORABLE, message.failure)
        if worker.current is not None:
            worker.look_at = now + self._patience.of(worker, worker.current)
        self._finish(worker)

    def _begin(self, worker: WorkerProcess, now: float) -> None:
        """Give a worker that has started its place, and the slow task that it was forked for."""
        worker.place, worker.look_at = Place.SPARE, NEVER
        if worker.meant_for is not None:
            worker.place, worker.lowered = Place.ASIDE, not worker.meant_for.starved
            self._assign(worker, [worker.meant_for], now)
            worker.meant_for, worker.staying = None, True

    def _finish(self, worker: WorkerProcess) -> None:
        """Give a worker whose chunk is done its next place, or end it."""
        if not worker.idle:
            return
        worker.look_at = NEVER
        if worker.address_space_mb() > FULL * self._memory_mb:
            self.crew.kill(worker)
        elif worker.place is Place.ASIDE:
            if len(self.crew.at(Place.SPARE)) >= 2 * SPARES:
                self.crew.kill(worker)
            else:
                self.crew.move_back(worker)

    def returned(self, worker: WorkerProcess) -> None:
        """The worker's priority has been restored."""
        if worker.place is Place.RETURNING:
            worker.place = Place.SPARE

    def printed(self, worker: WorkerProcess) -> None:
        """End a worker that prints without end: to read that takes a core, and an unread pipe would make it hang."""
        if worker.printed > MAX_OUTPUT_BYTES and worker.place is not Place.STARTING:
            self.losses.lose(worker, f"output: the checker printed more than {MAX_OUTPUT_BYTES // 1024} KB for one response")

    def template_lost(self, how: str) -> None:
        """Every worker has died with the template, after its last report."""
        for worker in list(self.crew.workers.values()):
            if worker.place is not Place.ENDING:
                self.hear(worker)
        self.losses.template_lost(how)
