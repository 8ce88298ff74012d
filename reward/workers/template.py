"""The template of a pool's workers: a process that has imported the checkers, sees no item, and forks a worker in milliseconds.

Started by `reward.workers.template_process` as `python -m reward.workers.template FD OWNER_PID MEMORY_MB CODE_LIMITS [CHECKER ...]`. On the
socket FD (SOCK_SEQPACKET, one JSON value a packet) it is asked and answers:

```
                                            → ["ready"]                       once: the checkers are imported
["fork", serial] + channel, claims, output  → ["forked", serial, pid]  or  ["failed", serial, why]
["fork aside", serial] + the same           → the same; the worker begins lowered
["lower", pid]                              nothing                           the worker gets only the time that nobody else wants
["raise", pid]                              → ["raised", pid]                 or its end, where the system lets nobody undo `lower`
["hurry", pid]                              nothing                           a worker that rehearses does so at the usual priority
["kill", pid]                               its end
                                            → ["ended", pid, code, status]    as os.waitid says it
```

Process ids cannot be confused: only this process reaps its children, on its one thread, and it signals only those it has not reaped. It
adopts what a dead worker leaves behind (it is a "child subreaper") and kills that too. When its owner ends it kills everything and goes.
"""

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reward.checkers import get_checker, own_score, warm_checker
from reward.programs import scratch
from reward.programs.limits import CodeLimits
from reward.workers.urgency import can_be_polite, lower, take_time
from reward.workers.worker import Worker

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOOK_MS = 1000  # how often to look for processes that were left behind
END_S = 10.0  # for killed children to be gone
KILLED_FIRST = "1000"  # of /proc/self/oom_score_adj: out of memory, the kernel ends reward workers before anything else


class OwnerGoneError(Exception):
    """The process that this one works for has ended."""


def prctl(option: int, value: int) -> None:
    """Set a property of this process; OSError when the kernel will not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def die_with(parent: int, how: signal.Signals) -> None:
    """Make the kernel send a signal when the parent ends."""
    prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:  # it ended before the kernel was told
        sys.exit("the owner of this reward process has ended")


def signal_group(pid: int, how: signal.Signals) -> None:
    """Signal a child that was not reaped, and its process group, which it may not have made yet."""
    os.kill(pid, how)
    with suppress(ProcessLookupError):
        os.killpg(pid, how)


@dataclass(frozen=True, slots=True)
class Job:
    """What a new worker is given: its descriptors, and whether it is for a slow item."""

    channel: int
    claims: int
    output: int
    aside: bool


class Template:
    """The children of this process: workers, and what dead workers left behind."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.workers: set[int] = set()
        self.watched: dict[int, int] = {}  # pidfd → pid of every child
        self.poll = select.poll()
        self.poll.register(channel, select.POLLIN)

    def say(self, *words: object) -> None:
        self.channel.send(json.dumps(words).encode())

    def serve(self) -> Job:
        """Fork and bury until the owner is gone, which is an OwnerGoneError; in a new worker, return what it is for."""
        self.say("ready")
        while True:
            for ready, _ in self.poll.poll(LOOK_MS):
                if ready != self.channel.fileno():
                    self.bury(ready)
                    continue
                data, descriptors, _, _ = socket.recv_fds(self.channel, 4096, 3)
                if not data:
                    raise OwnerGoneError
                request, number = json.loads(data)
                if request in ("fork", "fork aside"):
                    if self.fork(number, descriptors) == 0:
                        channel, claims, output = descriptors
                        return Job(channel, claims, output, request == "fork aside")
                elif number in self.workers:  # it may have ended since the owner asked
                    self.obey(request, number)
            self.adopt()

    def fork(self, serial: int, descriptors: list[int]) -> int:
        """Become two; 0 in the worker."""
        try:
            pid = os.fork()
        except OSError as error:
            self.say("failed", serial, str(error))
            pid = -1
        if pid == 0:
            return 0
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self.workers.add(pid)
            self.watch(pid)
            self.say("forked", serial, pid)
        return pid

    def obey(self, request: str, pid: int) -> None:
        """Do to a worker what the owner asks."""
        match request:
            case "kill":
                signal_group(pid, signal.SIGKILL)
            case "lower":
                with suppress(ProcessLookupError):  # it has ended and waits to be buried
                    lower(pid)
            case "hurry":
                with suppress(OSError):  # a wish: it may have ended, or the system may not let us
                    take_time(os.SCHED_OTHER, pid)
            case "raise":
                try:
                    os.sched_setaffinity(pid, os.sched_getaffinity(os.getpid()))
                    take_time(os.SCHED_OTHER, pid)
                    os.setpriority(os.PRIO_PGRP, pid, os.getpriority(os.PRIO_PROCESS, 0))
                    self.say("raised", pid)
                except (PermissionError, ProcessLookupError):
                    signal_group(pid, signal.SIGKILL)

    def watch(self, pid: int) -> None:
        descriptor = os.pidfd_open(pid)
        self.watched[descriptor] = pid
        self.poll.register(descriptor, select.POLLIN)

    def bury(self, descriptor: int) -> None:
        """Reap a child that has ended, after what is left of its group, and tell the owner how it ended."""
        pid = self.watched.pop(descriptor)
        self.poll.unregister(descriptor)
        os.close(descriptor)
        signal_group(pid, signal.SIGKILL)
        ended = os.waitid(os.P_PID, pid, os.WEXITED)
        assert ended is not None
        if pid in self.workers:
            self.workers.remove(pid)
            self.say("ended", pid, ended.si_code, ended.si_status)
        scratch.sweep()  # workers end by SIGKILL and remove nothing

    def adopt(self) -> None:
        """Kill the children that we did not start: their worker has ended, or has let them go."""
        me = os.getpid()
        for pid in map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split()):
            if pid not in self.watched.values():
                os.kill(pid, signal.SIGKILL)
                self.watch(pid)

    def end(self) -> None:
        """Kill every child, and theirs, and wait until they are gone."""
        self.poll.unregister(self.channel)
        self.channel.close()
        for pid in self.workers:
            signal_group(pid, signal.SIGKILL)
        self.workers.clear()
        deadline = time.monotonic() + END_S
        self.adopt()
        while self.watched and time.monotonic() < deadline:
            for ready, _ in self.poll.poll(LOOK_MS):
                self.bury(ready)
            self.adopt()

    def forget(self) -> None:
        """Let go, in a worker, of what is the template's alone."""
        self.channel.close()
        for descriptor in self.watched:
            os.close(descriptor)


def confine(parent: int, output: int) -> None:
    """Turn a fork of the template into a worker: a process group of its own that ends with the template, printing into its own pipe.

    Not a session: the kernel's autogroup divides the cores among sessions first, so a lowered worker in its own would keep a whole share.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    die_with(parent, signal.SIGKILL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    with suppress(OSError):  # a wish, not a need: some containers forbid it
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)


def leave(*_: object) -> NoReturn:
    raise OwnerGoneError


def main(arguments: list[str]) -> None:
    """Be the template until the owner ends; every worker comes out of `serve` in the middle of this."""
    descriptor, owner_pid, memory_mb, code, *warm = arguments
    die_with(int(owner_pid), signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    size = int(memory_mb) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(int(descriptor), False)  # programs that a checker starts cannot speak for it
    limits = CodeLimits(**json.loads(code))
    for name in warm:
        warm_checker(name)
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        sys.exit(
            f"importing the checkers {warm} started {threads - 1} threads, and a fork has none of them: start threads at the first call"
        )
    gc.collect()
    gc.freeze()  # what workers share with the template stays shared: their collector does not touch it
    me = os.getpid()
    template = Template(socket.socket(fileno=int(descriptor)))
    signal.signal(signal.SIGTERM, leave)
    polite = can_be_polite()
    try:
        job = template.serve()
    except (OwnerGoneError, ConnectionError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it may come as well, and must not interrupt the end
        template.end()
        return
    template.forget()
    confine(me, job.output)
    if job.aside:
        lower(os.getpid())
    else:
        rehearse(warm, polite)
    loaded = {name: own_score(name, limits) for name in warm}
    Worker(socket.socket(fileno=job.channel), job.claims, limits, loaded).serve()
    os._exit(0)  # what the checkers registered for a template's end is not for every worker


def rehearse(names: list[str], polite: bool) -> None:
    """Use the checkers once in a fresh worker, before its first item has to wait for what that costs.

    In the time that nobody else wants: workers that score must not wait for it. The owner hurries who is needed sooner.
    """
    if polite:
        take_time(os.SCHED_IDLE)
    for name in names:
        checker = get_checker(name)
        if checker.rehearsal is not None:
            checker.score(*checker.rehearsal)
    if polite:
        take_time(os.SCHED_OTHER)


if __name__ == "__main__":
    main(sys.argv[1:])
