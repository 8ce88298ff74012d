"""Which worker scores what, and for how long: the rules by which a slow item makes way and a late or deadly one is failed.

`reward.workers.supervisor` draws the places of a worker and calls in here: `arrange` gives out work, `hear` takes what workers report,
`look` finds who is late, `ended` and `template_lost` say who has died.
"""

import math
import time
from collections.abc import Callable, Sequence
from itertools import islice

from reward.workers.aside import WALL_TIMES, Aside
from reward.workers.patience import Patience
from reward.workers.process import Place, WorkerGone, WorkerProcess
from reward.workers.protocol import Message, State
from reward.workers.task_queue import TaskQueue
from reward.workers.tasks import Item, Task
from rollout.types import Outcome, Verdict

START_S = 60.0  # to start a worker, to take a chunk, to import a checker
MAX_CRASHES = 2  # an item may die once with a worker that was killed by someone else
MAX_LOSSES = 3  # and twice with the template and all its workers
FULL = 0.9  # of memory_mb: a library that swallows MemoryError would turn right answers into wrong ones
SPARES = 2
FRESH_ITEMS, FRESH_TIMES = 4, 2
MAX_OUTPUT_BYTES = 1 << 20
GONE_S = 1.0  # between a worker's last word and its end
SOON_S = 0.005
NEVER = math.inf


class Lanes:
    """The workers of a pool and their tasks. `ask` sends the template a request about a worker; `release` forgets its descriptors."""

    def __init__(
        self, queue: TaskQueue, *, workers: int, timeout_s: float, memory_mb: int, on_quarantine: Callable[[Item, str], None],
        ask: Callable[[str, WorkerProcess], None], release: Callable[[WorkerProcess], None],
    ) -> None:  # fmt: skip
        self.workers: dict[int, WorkerProcess] = {}
        self.patience = Patience(timeout_s)
        self._aside = Aside(workers, timeout_s, memory_mb)
        self._queue, self._front, self._timeout_s, self._memory_mb = queue, workers, timeout_s, memory_mb
        self._on_quarantine, self._ask, self._release = on_quarantine, ask, release

    def at(self, place: Place) -> list[WorkerProcess]:
        """The workers that stand there now."""
        return [worker for worker in list(self.workers.values()) if worker.place is place]

    def arrange(self, now: float) -> None:
        """Fill the places and hand out what waits."""
        front, spares = self.at(Place.FRONT), self.at(Place.SPARE)
        while len(front) < self._front and spares:
            front.append(spares.pop())
            front[-1].place = Place.FRONT
        for worker in front:
            if worker.idle and (chunk := self._queue.take()):
                self._assign(worker, chunk, now)

    def wanted(self) -> list[Task | None]:
        """The workers to fork: for the front, or each for a slow task."""
        starting = self.at(Place.STARTING)
        ordinary = sum(worker.meant_for is None for worker in starting)
        forks: list[Task | None] = [None] * (self._front + SPARES - len(self.at(Place.FRONT)) - len(self.at(Place.SPARE)) - ordinary)
        aside, coming = self.at(Place.ASIDE), len(starting) - ordinary
        while self._aside.has_place(aside, coming) and (task := self._queue.take_slow()) is not None:
            forks.append(task)
            coming += 1
        return forks

    def _assign(self, worker: WorkerProcess, tasks: Sequence[Task], now: float) -> None:
        worker.assign(tasks, now)
        worker.look_at = now + self._patience(worker, tasks[0])

    def _patience(self, worker: WorkerProcess, task: Task) -> float:
        """How long the task may keep its worker's place: longer in a fresh worker, whose caches are empty."""
        return self.patience.of(task.item.checker) * (FRESH_TIMES if worker.reported < FRESH_ITEMS else 1)

    def _move_aside(self, worker: WorkerProcess) -> None:
        worker.place, worker.lowered = Place.ASIDE, True
        self._ask("lower", worker)

    def hear(self, worker: WorkerProcess) -> None:
        """Take in what the worker has reported since."""
        try:
            for message in worker.messages():
                self._take(worker, message, time.monotonic())
        except WorkerGone as gone:
            self._lose(worker, str(gone))

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
            worker.look_at = now + (START_S if worker.loading else self._patience(worker, task))
            return
        worker.done, worker.printed, worker.reported = worker.done + 1, 0, worker.reported + 1
        self.patience.learn(task.item.checker, took)
        if message.state is State.SCORED:
            task.settle(Verdict(reward=message.reward, parts={"correct": message.reward}))
        else:
            task.fail(Outcome.UNSCORABLE, message.failure)
        if worker.current is not None:
            worker.look_at = now + self._patience(worker, worker.current)
        self._finish(worker)

    def _begin(self, worker: WorkerProcess, now: float) -> None:
        """Find the place of a worker that has started."""
        worker.place, worker.look_at = Place.SPARE, NEVER
        if worker.meant_for is not None:
            worker.place, worker.lowered = Place.ASIDE, not worker.meant_for.starved
            self._assign(worker, [worker.meant_for], now)
            worker.meant_for, worker.staying = None, True

    def _finish(self, worker: WorkerProcess) -> None:
        """Find something else for a worker whose chunk is done."""
        if not worker.idle:
            return
        worker.look_at = NEVER
        if worker.address_space_mb() > FULL * self._memory_mb:
            self._kill(worker)
        elif worker.place is Place.ASIDE:
            if len(self.at(Place.SPARE)) >= 2 * SPARES:
                self._kill(worker)
            else:
                worker.place, worker.staying, worker.lowered = Place.RETURNING, False, False
                self._ask("raise", worker)

    def returned(self, worker: WorkerProcess) -> None:
        """The worker's priority has been restored."""
        if worker.place is Place.RETURNING:
            worker.place = Place.SPARE

    def look(self, now: float) -> float:
        """Deal with everyone who is late; when to look next."""
        for worker in [worker for worker in self.workers.values() if worker.look_at <= now]:
            self.hear(worker)  # a verdict that is there is not late, however late we look
            if worker.look_at <= now and worker.place is not Place.ENDING:
                self._look(worker, now)
        return min((worker.look_at for worker in self.workers.values()), default=NEVER)

    def _look(self, worker: WorkerProcess, now: float) -> None:
        worker.look_at = now + SOON_S
        task = worker.current
        if worker.closed and now < worker.closed_at + GONE_S:  # its end will be told
            worker.look_at = worker.closed_at + GONE_S
        elif worker.closed or task is None:  # nor will it speak again, or it does not see that its chunk was taken from it
            self._lose(worker, "crash: the worker closed its channel")
        elif worker.loading:
            self._late(worker, task, f"more than {START_S:g} s to import the checker")
        elif worker.place is Place.FRONT and (early := self._patience(worker, task) - worker.clock.spent(now)) > 0:
            worker.look_at = now + max(SOON_S, early)
        elif worker.place is Place.FRONT and not self._begun(worker):
            if now - worker.clock.since > START_S:
                self._late(worker, task, f"the worker took no chunk in {START_S:g} s")
        else:
            self._look_at_item(worker, worker.current, now)

    def _begun(self, worker: WorkerProcess) -> bool:
        """Take back what the worker has not begun; False when it has yet to read its chunk: it keeps the first task of it."""
        back = worker.take_back()
        if not worker.tasks:
            worker.offer(back.pop(0))
            self._queue.give_back(back)
            return False
        self._queue.give_back(back)
        return True

    def _look_at_item(self, worker: WorkerProcess, task: Task | None, now: float) -> None:
        """Let a slow item make way, and fail it when its time is over."""
        if task is None:  # it was between two items, and has none now
            worker.look_at = now + GONE_S
            return
        own, wall = worker.clock.spent(now), now - worker.clock.since
        left = min(self._timeout_s - own, WALL_TIMES * self._timeout_s - wall)
        if own >= self._timeout_s:
            self._late(worker, task, f"more than {self._timeout_s:g} s to score the response")
        elif left <= 0 and worker.lowered and not task.starved:
            task.starved = True
            self._postpone(worker)
        elif left <= 0:
            self._late(worker, task, f"not scored in {wall:.1f} s on a busy machine; {own:.1f} s of them were its own")
        elif worker.place is Place.FRONT:
            self._make_room()
            self._move_aside(worker)
        elif task.call.over:
            self._kill(worker)
        elif not worker.staying and self._aside.is_long(own, wall) and not self._aside.has_place(self.at(Place.ASIDE)):
            self._postpone(worker)
        else:
            worker.staying = worker.staying or self._aside.is_long(own, wall)
            worker.look_at = now + max(SOON_S, min(left, 1.0 if worker.staying else self._aside.short_s - own))

    def _make_room(self) -> None:
        for other in self.at(Place.ASIDE):
            self.hear(other)
        if (oldest := self._aside.who_makes_room(self.at(Place.ASIDE))) is not None:
            self._postpone(oldest)

    def _postpone(self, worker: WorkerProcess) -> None:
        """End a worker that is aside; its item will be scored from the start."""
        if worker.current is not None:
            self._queue.put_aside(worker.current, first=worker.current.starved)
        self._kill(worker)

    def unborn(self, worker: WorkerProcess) -> None:
        """There is no process for this worker."""
        del self.workers[worker.serial]
        self._keep(worker)
        self._release(worker)

    def printed(self, worker: WorkerProcess) -> None:
        """Stop a worker that prints more than anyone will read: reading it takes a core, and a full pipe would look like hanging."""
        if worker.printed > MAX_OUTPUT_BYTES and worker.place is not Place.STARTING:
            self._lose(worker, f"output: the checker printed more than {MAX_OUTPUT_BYTES // 1024} KB for one response")

    def _late(self, worker: WorkerProcess, task: Task, why: str) -> None:
        task.fail(Outcome.TIMED_OUT, f"timeout: {why}")
        worker.done += 1
        self._queue.give_back(worker.take_back())
        self._kill(worker)

    def _kill(self, worker: WorkerProcess) -> None:
        worker.place, worker.look_at = Place.ENDING, NEVER
        self._release(worker)
        self._ask("kill", worker)

    def _lose(self, worker: WorkerProcess, how: str) -> None:
        """Give up a worker that lives, but not as it should."""
        self._blame(worker, how)
        self._kill(worker)

    def ended(self, worker: WorkerProcess, how: str) -> None:
        """A worker's process has ended."""
        del self.workers[worker.serial]
        self._keep(worker)
        if worker.place is not Place.ENDING:
            self._blame(worker, how)
            self._release(worker)

    def _keep(self, worker: WorkerProcess) -> None:
        """Keep the task of a worker that never came to it."""
        if worker.meant_for is not None:
            self._queue.put_aside(worker.meant_for, first=True)

    def _blame(self, worker: WorkerProcess, how: str) -> None:
        self._queue.give_back(worker.take_back())
        if (task := worker.current) is None:
            return None
        worker.done += 1
        if (earlier := self._queue.quarantine.find(task.payload)) is not None:  # its twin was on its way at the same time
            return task.fail(Outcome.CRASHED, f"crash: quarantined: {earlier}")
        task.crashes += 1
        if task.crashes < MAX_CRASHES:
            return self._queue.put_aside(task, first=True)
        self._queue.quarantine.add(task.payload, how)
        self._on_quarantine(task.item, how)
        return task.fail(Outcome.CRASHED, how)

    def template_lost(self, how: str) -> None:
        """Every worker has died with the template: what they had is scored again, but not for ever."""
        for worker in list(self.workers.values()):
            if worker.place is not Place.ENDING:
                self.hear(worker)
        for worker in list(self.workers.values()):
            del self.workers[worker.serial]
            if worker.place is Place.ENDING:
                continue
            self._keep(worker)
            self._queue.give_back(worker.take_back())
            for task in islice(worker.tasks, worker.done, None):
                task.losses += 1
                if task.losses >= MAX_LOSSES:
                    task.fail(Outcome.CRASHED, f"crash: {how} {MAX_LOSSES} times while this was scored")
                else:
                    self._queue.put_aside(task, first=True)
            self._release(worker)
