"""The thread that owns a pool's processes: it starts and replaces them, and passes on their reports.

```
fork ──► STARTING ──► SPARE ──a place is free──► FRONT ──chunk──► (item after item) ──► FRONT
                        ▲                          │
                        │                          │ an item takes longer than patience: the rest of the chunk goes back to the queue,
                        │                          ▼ and a spare worker takes the place
                        └── RETURNING ◄─verdict── ASIDE ──timeout_s of its own time──► killed; the item fails as "timeout"
```
A worker that dies is replaced by a spare. Its item is tried again, aside; when a second worker dies of it, it fails and is quarantined.
ASIDE has twice as many places as FRONT. A short stay needs no place. A worker that stays longer and finds no place is killed, and its item
is scored from the start when a place is free. When the template dies, so do its workers; their items wait for the next template.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from reward.own.name import OwnCodeError, is_own
from reward.programs.limits import CodeLimits
from reward.workers.crew import Crew
from reward.workers.lanes import Lanes
from reward.workers.lateness import GONE_S, START_S
from reward.workers.task_queue import TaskQueue
from reward.workers.tasks import Item, Task
from reward.workers.template_owner import TemplateGone, TemplateProcess
from reward.workers.watch import Watch
from reward.workers.worker_owner import Place, WorkerProcess, ending

MAX_STARTS = 3
PAUSE_S, MOST_PAUSES = 0.2, 25  # before the second start; a pause more before each that follows
POLITE_S, FIRM_S = 10.0, 3.0  # for the template to end its workers; for the kernel to end the template
TURN_S, HURRY_S = 1.0, 0.05


class Supervisor(threading.Thread):
    """Works through the queue until it closes; `started` is set when every place has had a worker for the first time."""

    def __init__(
        self, *, workers: int, timeout_s: float, memory_mb: int, warm: Sequence[str], limits: CodeLimits, max_waiting: int,
        on_quarantine: Callable[[Item, str], None], on_output: Callable[[bytes], None] | None,
    ) -> None:  # fmt: skip
        super().__init__(name="reward-supervisor", daemon=True)
        self.started: Future[None] = Future()
        self._count, self._memory_mb, self._warm, self._limits, self._on_output = workers, memory_mb, warm, limits, on_output
        self._watch = Watch(self._hear, lambda worker: self._lanes.printed(worker))
        self.queue = TaskQueue(workers, max_waiting, self._watch.wake)
        self._crew = Crew(self._ask, self._watch.release)
        self._lanes = Lanes(self.queue, self._crew, workers=workers, timeout_s=timeout_s, memory_mb=memory_mb, on_quarantine=on_quarantine)
        self._template: TemplateProcess | None = None
        self._by_pid: dict[int, WorkerProcess] = {}
        self._serial = self._failures = 0
        self._start_at = 0.0
        self._stuck = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that take new items now."""
        return [worker.pid for worker in self._crew.at(Place.FRONT)]

    def run(self) -> None:
        """Work through the queue, with new processes whenever some are lost, until it closes; leave nothing behind."""
        try:
            while not self.queue.closed:
                self._turn()
        except Exception as error:  # callers must get every error: no other thread would report it
            self.queue.close(error)
            if not self.started.done():
                self.started.set_exception(error)
        if not self.started.done():
            self.started.set_exception(RuntimeError("the reward pool was closed before its workers had started"))
        self._end()

    def _turn(self) -> None:
        now = time.monotonic()
        may_start = now >= self._start_at
        if self._template is None and may_start:
            self._start_template(now)
        elif self._template is not None and self._template.ready:
            self._lanes.arrange(now)
            for task in self._lanes.wanted() if may_start else ():
                self._fork(now, task)
            self._hurry(now)
            self._watch.watch_writers(self._crew.workers.values())
        if not self.started.done() and len(self._crew.at(Place.FRONT)) == self._count:
            self.started.set_result(None)
        wait_s = min(
            TURN_S, self._lanes.lateness.look(time.monotonic()) - time.monotonic(), self._start_at - now if self._start_at > now else TURN_S
        )
        self._watch.wait(wait_s)
        if self._template is not None and (self._stuck or time.monotonic() > self._start_deadline()):
            self._template_gone()

    def _start_deadline(self) -> float:
        """When the template, or the worker that has been starting for longest, must be ready."""
        assert self._template is not None
        if not self._template.ready:
            return self._template.deadline
        return min((worker.clock.since for worker in self._crew.at(Place.STARTING)), default=math.inf) + START_S

    def _start_template(self, now: float) -> None:
        try:
            template = self._template = TemplateProcess(self._memory_mb, self._limits, self._warm, self._on_output)
        except OSError as error:
            return self._count_failure(str(error), "")
        template.deadline = now + START_S
        self._watch.add_template(template, self._answers)
        return None

    def _count_failure(self, reason: str, printed: str) -> None:
        """Try again a little later; RuntimeError after MAX_STARTS failures, unless some worker still scores."""
        self._failures += 1
        self._start_at = time.monotonic() + PAUSE_S * min(self._failures, MOST_PAUSES)
        if self._failures >= MAX_STARTS and not self.pids:
            raise RuntimeError(
                f"reward worker died at start {MAX_STARTS} times in a row (memory_mb={self._memory_mb}): {reason}; its output ends: "
                f"{printed or '(nothing)'}"
            )

    def _fork(self, now: float, task: Task | None) -> None:
        self._serial += 1
        try:
            worker = WorkerProcess(self._serial, task, self._on_output)
        except OSError as error:  # for example, too many open files
            if task is not None:
                self.queue.put_aside(task, first=True)
            return self._count_failure(str(error), "")
        worker.clock.restart(now)
        self._crew.workers[worker.serial] = worker
        assert self._template is not None
        try:
            self._template.ask("fork aside" if task and not task.starved else "fork", worker.serial, worker.theirs)
        except TemplateGone:
            self._stuck = True
        worker.hand_over()
        self._watch.add_worker(worker)
        return None

    def _hurry(self, now: float) -> None:
        """While a place is empty, give rehearsing workers the usual priority; asked again, as they may not have begun."""
        for worker in self._crew.at(Place.STARTING) if len(self.pids) < self._count else ():
            if worker.meant_for is None and now - worker.hurried_at > HURRY_S:
                worker.hurried_at = now
                self._ask("hurry", worker)

    def _ask(self, request: str, worker: WorkerProcess) -> None:
        """Have the template do something to a worker; a template that reads no requests is stuck and will be ended."""
        if self._template is not None and worker.pid in self._by_pid:
            try:
                self._template.ask(request, worker.pid)
            except TemplateGone:
                self._stuck = True

    def _hear(self, worker: WorkerProcess) -> None:
        starting = worker.place is Place.STARTING
        self._lanes.hear(worker)
        if starting and worker.place in (Place.SPARE, Place.ASIDE):
            self._failures = 0

    def _answers(self) -> None:
        """The template has answered, or has ended."""
        assert self._template is not None
        try:
            answers = self._template.answers()
        except TemplateGone:
            self._template_gone()
            return
        for answer in answers:
            match answer:
                case ["importing", str(name)]:
                    self._template.importing = name
                    self._template.deadline = time.monotonic() + START_S
                case ["refused", str(why)]:
                    raise OwnCodeError(why)
                case ["ready", dict(asks)]:
                    self.queue.asks = asks
                    self._template.ready, self._template.importing = True, ""
                case ["forked", int(serial), int(pid)]:
                    worker = self._crew.workers[serial]
                    worker.born(pid)
                    self._by_pid[pid] = worker
                case ["failed", int(serial), str(why)]:
                    self._lanes.losses.unborn(self._crew.workers[serial])
                    self._count_failure(f"no process for a worker: {why}", "")
                case ["raised", int(pid)]:
                    self._lanes.returned(self._by_pid[pid])
                case ["ended", int(pid), int(code), int(status)]:
                    self._ended(self._by_pid.pop(pid), ending(code, status))

    def _ended(self, worker: WorkerProcess, how: str) -> None:
        if worker.place is not Place.ENDING:
            self._lanes.hear(worker)  # its last reports
        starting = worker.place is Place.STARTING
        if starting:
            worker.output.read()
        self._lanes.losses.ended(worker, how)
        if starting:
            self._count_failure(how, worker.output.tail)

    def _template_gone(self) -> None:
        """End the rest of the template and of its workers' groups, and start a new one."""
        template, stuck = self._template, self._stuck
        self._template, self._stuck = None, False
        assert template is not None
        groups = list(self._by_pid)
        late = template.importing if time.monotonic() > template.deadline else ""
        how = self._close_template(template, GONE_S if template.ready and not stuck else 0.0)
        for pid in groups:
            # The kernel gives no new process the number of a group that has members, nor within milliseconds that of an empty one.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._by_pid.clear()
        self._lanes.template_lost(f"the process that starts workers {how}")
        if is_own(late):
            raise OwnCodeError(
                f"checker {late!r} was not imported within {START_S:g} s: load what takes long at the first call; its output ends: "
                f"{template.output.tail or '(nothing)'}"
            )
        importing = f" while it imported checker {template.importing!r}" if template.importing else ""
        self._count_failure(f"crash: the process that starts workers {how}{importing}", template.output.tail)

    def _close_template(self, template: TemplateProcess, polite_s: float) -> str:
        self._watch.remove_template(template)
        return template.end(polite_s, FIRM_S)

    def _end(self) -> None:
        """Leave no process and no descriptor."""
        try:
            if self._template is not None:
                self._close_template(self._template, POLITE_S if self._template.ready else 0.0)
        finally:
            for worker in list(self._crew.workers.values()):
                self._watch.release(worker)
            self._watch.close()
