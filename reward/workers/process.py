"""A worker process seen from its owner: what it was given, what it has said and how much of its time the current item has had.

Nothing here waits: the owner reads when there is something to read. `reward.workers.template_process` starts and ends the process itself.
"""

import math
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path

from reward.workers.clock import OwnTime
from reward.workers.protocol import Message
from reward.workers.tasks import Task

TAIL_BYTES = 4096
MAX_LINE_BYTES = 1 << 16


class WorkerGone(Exception):
    """The worker is of no more use; the text is a failure such as "crash: the worker was killed by SIGSEGV"."""


class Place(Enum):
    """Where in the pool a worker stands."""

    STARTING = auto()
    SPARE = auto()  # ready, without work
    FRONT = auto()  # takes chunks of the queue
    ASIDE = auto()  # has one slow item, at the lowest priority
    RETURNING = auto()  # has finished it; its priority is being restored
    ENDING = auto()  # killed, not yet gone


class WorkerProcess:
    """One worker: three descriptors, and the tasks it has."""

    def __init__(self, serial: int, meant_for: Task | None = None) -> None:
        self.serial, self.pid, self.place = serial, 0, Place.STARTING
        self.meant_for = meant_for  # a slow task, which is all it will do
        self.channel, self._theirs = socket.socketpair()
        self.output, self._their_output = os.pipe2(os.O_CLOEXEC)
        self.claims = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.channel.setblocking(False)
        os.set_blocking(self.output, False)
        self.tasks: list[Task] = []
        self.done = 0  # of the tasks, how many it has reported
        self.look_at = math.inf  # when to look whether it is late
        self.clock = OwnTime(os.getpid())  # of the current item, or state; the worker's own once there is one
        self.loading = self.staying = self.lowered = self.dropping = False
        self.closed_at = math.inf  # when its side of the channel was found closed
        self.reported = 0  # items, ever
        self.hurried_at = -math.inf  # when it was last asked to start sooner
        self.printed = 0  # bytes, since its last report
        self._tail = self._partial = self._unsent = b""

    @property
    def theirs(self) -> Sequence[int]:
        """The descriptors of the worker's side, for the template."""
        return self._theirs.fileno(), self.claims, self._their_output

    @property
    def current(self) -> Task | None:
        """The first task that it has not reported."""
        return self.tasks[self.done] if self.done < len(self.tasks) else None

    @property
    def output_tail(self) -> str:
        """The last that the worker printed, for people."""
        return self._tail.decode(errors="replace").strip() or "(nothing)"

    @property
    def closed(self) -> bool:
        """Whether it will say nothing more."""
        return self.closed_at < math.inf

    @property
    def idle(self) -> bool:
        """Whether it has reported all it had, and will not look at that again."""
        return self.current is None and not self.dropping

    @property
    def sending(self) -> bool:
        """Whether a part of the chunk waits for the worker to read."""
        return bool(self._unsent)

    def born(self, pid: int) -> None:
        """It has a process now."""
        since = self.clock.since
        self.clock.close()
        self.pid, self.clock = pid, OwnTime(pid)
        self.clock.restart(since)

    def hand_over(self) -> None:
        """Close the worker's side here, so that its end can be seen."""
        self._theirs.close()
        if self._their_output >= 0:
            os.close(self._their_output)
            self._their_output = -1

    def assign(self, tasks: Sequence[Task], now: float) -> None:
        """Give it a chunk; the rest of what it cannot take at once goes by `send`."""
        assert self.idle, "a worker has one chunk at a time"
        self.tasks, self.done = list(tasks), 0
        self.clock.restart(now)
        self.staying = self.dropping = False
        os.eventfd_write(self.claims, len(tasks))
        self._unsent = b"[" + ",".join(task.payload for task in tasks).encode() + b"]\n"
        self.send()

    def send(self) -> None:
        """Send what the worker will take now. A worker that is gone takes nothing: its owner hears of the end by itself."""
        try:
            self._unsent = self._unsent[self.channel.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""

    def take_back(self) -> list[Task]:
        """The tasks it had not begun, which are ours again: it will not begin them now, and says DROPPED when it sees that."""
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
        """Let it have the first task of a chunk after all, all of which was taken back."""
        assert not self.tasks, "a task that is not the first cannot be offered again"
        self.tasks = [first]
        os.eventfd_write(self.claims, 1)

    def messages(self) -> list[Message]:
        """What it has said since; WorkerGone when that is nonsense, `closed` when nothing more will come."""
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

    def keep_output(self) -> bool:
        """Read what it printed; False when nothing more will come."""
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return True
        self.printed += len(data)
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        return bool(data)

    def address_space_mb(self) -> float:
        """What counts against the worker's memory limit now."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[0])
        except (ProcessLookupError, FileNotFoundError):
            return 0.0
        return pages * resource.getpagesize() / 2**20

    def close(self) -> None:
        """Free every descriptor."""
        self.hand_over()
        if self.output >= 0:
            self.channel.close()
            os.close(self.output)
            os.close(self.claims)
            self.clock.close()
            self.output = -1


def ending(code: int, status: int) -> str:
    """In words how a worker ended, from what os.waitid said."""
    if code == os.CLD_EXITED:
        return f"crash: the worker exited with status {status}"
    return f"crash: the worker was killed by {signal.Signals(status).name}"
