"""The children of a process that forks them: which have ended, how to kill one with its group, how an end reads."""

import os
import select
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from reward.processes.channel import Channel

Known = TypeVar("Known")
PF_EXITING = 0x4  # linux/sched.h
FLAGS = 6  # its place in /proc/PID/stat behind the name, which may hold spaces


class Children(Generic[Known]):
    """Children that were not reaped yet, each with what its parent knows about it, watched together with the owner's channel.

    A child is watched by a descriptor of the process (pidfd), which cannot be confused with a later process of the same id.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.known: dict[int, Known] = {}  # what is known of every child, by its descriptor
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def watch(self, pid: int, known: Known) -> None:
        """Watch a child that was just forked, or adopted."""
        descriptor = os.pidfd_open(pid)
        self.known[descriptor] = known
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, milliseconds: int | None = None) -> Iterable[int]:
        """The descriptors of children that have ended, and of the channel where it can be read; empty when the time is over."""
        return [descriptor for descriptor, _ in self._poll.poll(milliseconds)]

    def remove(self, descriptor: int) -> Known:
        """Stop watching a child that has ended; reap it after that."""
        known = self.known.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        return known

    def close_channel(self) -> None:
        """Stop listening to the owner."""
        self._poll.unregister(self._channel)
        self._channel.close()

    def forget(self) -> None:
        """Close, in a fork of this process, everything that belongs to the parent alone."""
        self._channel.close()
        for descriptor in self.known:
            os.close(descriptor)


def kill(pid: int) -> None:
    """Kill a process; nothing happens where it has been reaped."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """Kill a child that was not reaped yet, and its process group, which it may not have made yet."""
    kill(pid)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def is_exiting(pid: int) -> bool:
    """Whether the kernel is ending a process, or its first thread, at this moment; False for one that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return bool(int(stat.rpartition(b")")[2].split()[FLAGS]) & PF_EXITING)


def succeeds_in_child(attempt: Callable[[], object]) -> bool:
    """Whether the attempt raises nothing, tried in a fork that it may spoil."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            attempt()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def describe_end(status: int) -> str:
    """How a process ended, in words: its exit status, or the negative number of the signal that killed it."""
    if status >= 0:
        return f"exited with status {status}"
    known = signal.Signals.__members__.values()
    return f"was killed by {signal.Signals(-status).name if -status in known else f'signal {-status}'}"
