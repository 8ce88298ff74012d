"""A worker process seen from its owner: its tasks, its reports, and how long its current item has taken.

Nothing here waits: the owner reads when there is something to read. `reward.workers.template_owner` starts and ends the process itself.
"""

import math
import os
import resource
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto

from reward.processes.children import describe_end
from reward.processes.output import Output
from reward.processes.own_time import OwnTime
from reward.workers.protocol import Message
from reward.workers.tasks import Task

MAX_LINE_BYTES = 1 << 20  # a right response of 100,000 characters fits


class WorkerGone(Exception):
    """The worker cannot be used any more; the text is a failure such as "crash: the worker was killed by SIGSEGV"."""


class Place(Enum):
    """Where in the pool a worker stands."""

    STARTING = auto()
    SPARE = auto()  # ready, without work
    FRONT = auto()  # takes chunks of the queue
    ASIDE = auto()  # has one slow item, at the lowest priority
    RETURNING = auto()  # has finished that item; its priority is being restored
    ENDING = auto()  # killed, not yet gone


class WorkerProcess:
    """One worker: three descriptors and its tasks."""

    def __init__(self, serial: int, meant_for: Task | None = None, on_output: Callable[[bytes], None] | None = None) -> None:
        self.serial, self.pid, self.place = serial, 0, Place.STARTING
        self.meant_for = meant_for  # the slow task that it is forked for
        self.channel, self._theirs = socket.socketpair()
        output, self._their_output = os.pipe2(os.O_CLOEXEC)
        self.claims = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.channel.setblocking(False)
        os.set_blocking(output, False)
        self.output = Output(output, on_output=on_output)
        self.tasks: list[Task] = []
        self.done = 0  # of the tasks, how many it has reported
        self.look_at = math.inf  # when to check whether it is late
        self.clock = OwnTime(os.getpid())  # of the current item; of our own process until the worker has one
        self.loading = False  # it imports the checker of its current item
        self.staying = False  # aside, on a place of its own
        self.lowered = False  # to the lowest priority
        self.dropping = False  # tasks were taken back from it, and it has not said DROPPED yet
        self.closed_at = math.inf  # when its side of the channel was found closed
        self.reported = 0  # items, in its whole life
        self.hurried_at = -math.inf  # when it was last asked to start sooner
        self._printed_before = 0  # bytes, until its last report
        self._partial = self._unsent = b""
        self._memory = -1  # /proc/PID/statm, kept open: it is read after every chunk

    @property
    def theirs(self) -> Sequence[int]:
        """The descriptors of the worker's side, for the template."""
        return self._theirs.fileno(), self.claims, self._their_output

    @property
    def current(self) -> Task | None:
        """The first task that it has not reported."""
        return self.tasks[self.done] if self.done < len(self.tasks) else None

    @property
    def printed(self) -> int:
        """Bytes that it printed since its last report."""
        return self.output.printed - self._printed_before

    @property
    def closed(self) -> bool:
        """Whether its side of the channel is closed, so that no report will come."""
        return self.closed_at < math.inf

    @property
    def idle(self) -> bool:
        """Whether it can get a chunk: it has reported all its tasks, and no DROPPED is due."""
        return self.current is None and not self.dropping

    @property
    def sending(self) -> bool:
        """Whether a part of the chunk waits for the worker to read."""
        return bool(self._unsent)

    def born(self, pid: int) -> None:
        """The template has forked its process."""
        since = self.clock.since
        self.clock.close()
        self.pid, self.clock = pid, OwnTime(pid)
        with suppress(FileNotFoundError):
            self._memory = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        self.clock.restart(since)

    def hand_over(self) -> None:
        """Close our copies of the worker's descriptors; else the channel would stay open after its end."""
        self._theirs.close()
        if self._their_output >= 0:
            os.close(self._their_output)
            self._their_output = -1

    def assign(self, tasks: Sequence[Task], now: float) -> None:
        """Give it a chunk; `send` sends the rest of a chunk that is too long for the socket's buffer."""
        assert self.idle, "a worker has one chunk at a time"
        self.tasks, self.done = list(tasks), 0
        self.clock.restart(now)
        self.staying = self.dropping = False
        os.eventfd_write(self.claims, len(tasks))
        self._unsent = b"[" + ",".join(task.payload for task in tasks).encode() + b"]\n"
        self.send()

    def send(self) -> None:
        """Send as much as the socket takes. Where the worker is gone, drop it: the template reports the end."""
        try:
            self._unsent = self._unsent[self.channel.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""

    def take_back(self) -> list[Task]:
        """Take away the tasks that it has not begun and return them; it says DROPPED when it finds them gone."""
        left = 0
        try:
            while True:
                left += os.eventfd_read(self.claims)
        except BlockingIOError:
            keep = len(self.tasks) - left
            back, self.tasks = self.tasks[keep:], self.tasks[:keep]
            self.dropping = self.dropping or left > 0
            return back

    def offer(self, first: Task) -> None:
        """Give it back the first task of its chunk, after `take_back` has taken all of them."""
        assert not self.tasks, "a task that is not the first cannot be offered again"
        self.tasks = [first]
        os.eventfd_write(self.claims, 1)

    def messages(self) -> list[Message]:
        """Its reports since the last call; WorkerGone when they cannot be read. Sets `closed` at the end of the channel."""
        while not self.closed:
            try:
                data = self.channel.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:  # reset: it died with a chunk unread
                data = b""
            if not data:
                self.closed_at = time.monotonic()
            self._partial += data
            if len(self._partial) > MAX_LINE_BYTES and b"\n" not in self._partial:
                raise WorkerGone(f"crash: the worker sent a line of more than {MAX_LINE_BYTES} bytes")
        *lines, self._partial = self._partial.split(b"\n")
        try:
            return [Message.decode(line) for line in lines]
        except ValueError as error:
            raise WorkerGone(f"crash: {error}") from error

    def count_report(self) -> None:
        """The current task has its verdict."""
        self.done += 1
        self.reported += 1
        self._printed_before = self.output.printed

    def address_space_mb(self) -> float:
        """The megabytes that count against the worker's memory limit now."""
        if self._memory < 0:
            return 0.0
        try:
            pages = int(os.pread(self._memory, 100, 0).split()[0])
        except ProcessLookupError:
            return 0.0
        return pages * resource.getpagesize() / 2**20

    def close(self) -> None:
        """Free every descriptor."""
        self.hand_over()
        if self.output.descriptor >= 0:
            self.output.read()  # its last words
            self.channel.close()
            os.close(self.output.descriptor)
            os.close(self.claims)
            self.clock.close()
            if self._memory >= 0:
                os.close(self._memory)
                self._memory = -1
            self.output.descriptor = -1  # its number may soon be another file's


def ending(code: int, status: int) -> str:
    """The failure of an item whose worker ended, from the code and the status of os.waitid."""
    return f"crash: the worker {describe_end(status if code == os.CLD_EXITED else -status)}"
