"""The descriptors that a pool's thread waits for: an alarm, the template's, and two of every worker."""

import os
import selectors
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from reward.workers.lateness import GONE_S
from reward.workers.template_owner import TemplateProcess
from reward.workers.worker_owner import Place, WorkerProcess


class Watch:
    """Reads what comes. `hear` takes a worker's reports, and `printed` learns that a worker has printed."""

    def __init__(self, hear: Callable[[WorkerProcess], None], printed: Callable[[WorkerProcess], None]) -> None:
        self._hear, self._on_print = hear, printed
        self._selector = selectors.DefaultSelector()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._alarm_lock = threading.Lock()  # nobody writes to a descriptor that was closed and given away
        self._selector.register(self._alarm, selectors.EVENT_READ, lambda: os.eventfd_read(self._alarm))
        self._writing: set[int] = set()  # serials of the workers that have not taken their whole chunk

    def wake(self) -> None:
        """End the wait, from any thread."""
        with self._alarm_lock:
            if self._alarm >= 0:
                os.eventfd_write(self._alarm, 1)

    def wait(self, seconds: float) -> None:
        """Wait at most so long until something comes, and read everything that has come."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.fd in self._selector.get_map():  # an event before it may have ended its worker
                key.data()

    def add_template(self, template: TemplateProcess, answers: Callable[[], None]) -> None:
        self._selector.register(template.channel, selectors.EVENT_READ, answers)
        self._selector.register(template.output.descriptor, selectors.EVENT_READ, lambda: self._template_printed(template))

    def remove_template(self, template: TemplateProcess) -> None:
        for watched in (template.channel, template.output.descriptor):
            with suppress(KeyError):
                self._selector.unregister(watched)

    def add_worker(self, worker: WorkerProcess) -> None:
        self._selector.register(worker.channel, selectors.EVENT_READ, lambda: self._spoken(worker))
        self._selector.register(worker.output.descriptor, selectors.EVENT_READ, lambda: self._printed(worker))

    def release(self, worker: WorkerProcess) -> None:
        """Forget a worker's descriptors, and close them."""
        for watched in (worker.channel, worker.output.descriptor):
            with suppress(KeyError, ValueError):  # its end was seen before, or it is closed
                self._selector.unregister(watched)
        self._writing.discard(worker.serial)
        worker.close()

    def watch_writers(self, workers: Iterable[WorkerProcess]) -> None:
        """Hear when a worker that has not taken its whole chunk reads on."""
        for worker in workers:
            if worker.sending and worker.serial not in self._writing and not worker.closed:
                self._writing.add(worker.serial)
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                self._selector.modify(worker.channel, both, lambda worker=worker: self._spoken(worker))

    def _spoken(self, worker: WorkerProcess) -> None:
        """A worker's channel can be read, or written to."""
        worker.send()
        self._hear(worker)
        if worker.place is Place.ENDING:
            return
        if worker.closed:
            self._selector.unregister(worker.channel)
            worker.look_at = worker.closed_at + GONE_S
        elif worker.serial in self._writing and not worker.sending:
            self._writing.remove(worker.serial)
            self._selector.modify(worker.channel, selectors.EVENT_READ, lambda: self._spoken(worker))

    def _printed(self, worker: WorkerProcess) -> None:
        if worker.output.read() == b"":
            self._selector.unregister(worker.output.descriptor)
        self._on_print(worker)

    def _template_printed(self, template: TemplateProcess) -> None:
        if template.output.read() == b"":
            self._selector.unregister(template.output.descriptor)

    def close(self) -> None:
        self._selector.close()
        with self._alarm_lock:
            os.close(self._alarm)
            self._alarm = -1
