"""The template of a pool's workers: a process that has imported the checkers, sees no item, and forks a worker in milliseconds.

Started by `reward.workers.template_owner` as `python -m reward.workers.template_main FD OWNER_PID MEMORY_MB CODE_LIMITS [CHECKER ...]`. On
the socket FD, a `reward.processes.channel`, it gets requests and answers:

```
                                            → ["importing", checker]          before each import
                                            → ["refused", why]                the user's code cannot be used; the process then ends
                                            → ["ready", {checker: [field]}]   once: all are imported; what the user's functions ask for
["fork", serial] + channel, claims, output  → ["forked", serial, pid]  or  ["failed", serial, why]
["fork aside", serial] + the same           → the same; the worker begins lowered
["lower", pid]                              nothing                           the worker gets only time that no other process wants
["raise", pid]                              → ["raised", pid]                 or its end, where the system lets nobody undo `lower`
["hurry", pid]                              nothing                           a worker that rehearses does so at the usual priority
["close", pid]                              nothing                           SIGTERM: a held world closes its generator and ends
["kill", pid]                               its end
                                            → ["ended", pid, code, status]    as os.waitid says it
```

Process ids cannot be confused: only this process reaps its children, on its one thread, and it signals only those it has not reaped. It
adopts the processes that a dead worker leaves behind and kills them too. When its owner ends, it kills everything and ends.
"""

import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from reward.checkers import warm_checker
from reward.own.function import OwnFunction
from reward.own.name import OwnCodeError
from reward.pool_tool import PoolTool
from reward.processes.channel import Channel
from reward.processes.children import Children, kill_group
from reward.processes.prctl import adopt_orphans, die_with
from reward.programs import scratch
from reward.programs.limits import CodeLimits
from reward.workers.urgency import can_be_polite, lower, restore, take_time
from reward.workers.worker_main import Job, be_worker

LOOK_MS = 1000  # how often to look for processes that were left behind
END_S = 10.0  # for killed children to be gone
MAX_WHY_CHARS = 4000
Become = Callable[[int, Job, CodeLimits, Sequence[str], bool], NoReturn]  # what a fork does


class OwnerGoneError(Exception):
    """The process that this one works for has ended."""


class Template:
    """The children of this process: workers, and processes that dead workers left behind."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.workers: set[int] = set()
        self.asks: dict[str, list[str]] = {}  # by the name of a function of the user's: what its owner must know of it
        self.children: Children[int] = Children(channel)  # each with its process id

    def say(self, *words: object) -> None:
        self.channel.send(words)

    def serve(self) -> Job:
        """Fork and bury until the owner is gone, which is an OwnerGoneError; in a new worker, return what it gets."""
        self.say("ready", self.asks)
        while True:
            for ready in self.children.wait(LOOK_MS):
                if ready in self.children.known:
                    self.bury(ready)
                    continue
                received = self.channel.receive(most_descriptors=3)
                if received is None:
                    raise OwnerGoneError
                (request, number), descriptors = received
                if request in ("fork", "fork aside"):
                    if self.fork(number, descriptors) == 0:
                        channel, *claims, output = descriptors
                        return Job(channel, claims[0] if claims else -1, output, request == "fork aside")
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
            self.children.watch(pid, pid)
            self.say("forked", serial, pid)
        return pid

    def obey(self, request: str, pid: int) -> None:
        """Do to a worker what the owner asks."""
        match request:
            case "kill":
                kill_group(pid)
            case "close":
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            case "lower":
                with suppress(ProcessLookupError):  # it has ended and waits to be buried
                    lower(pid)
            case "hurry":
                with suppress(OSError):  # a wish: it may have ended, or the system may not let us
                    take_time(os.SCHED_OTHER, pid)
            case "raise":
                try:
                    restore(pid)
                    self.say("raised", pid)
                except (PermissionError, ProcessLookupError):
                    kill_group(pid)

    def bury(self, descriptor: int) -> None:
        """Reap a child that has ended, after its group was killed, and tell the owner how it ended."""
        pid = self.children.remove(descriptor)
        kill_group(pid)
        ended = os.waitid(os.P_PID, pid, os.WEXITED)
        assert ended is not None
        if pid in self.workers:
            self.workers.remove(pid)
            self.say("ended", pid, ended.si_code, ended.si_status)
        scratch.sweep()  # workers end by SIGKILL and remove nothing

    def adopt(self) -> None:
        """Kill the children that this process did not fork: their worker has ended, or has cut them loose."""
        me = os.getpid()
        for pid in map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split()):
            if pid not in self.children.known.values():
                os.kill(pid, signal.SIGKILL)
                self.children.watch(pid, pid)

    def end(self) -> None:
        """Kill every child, and theirs, and wait until they are gone."""
        self.children.close_channel()
        for pid in self.workers:
            kill_group(pid)
        self.workers.clear()
        deadline = time.monotonic() + END_S
        self.adopt()
        while self.children.known and time.monotonic() < deadline:
            for ready in self.children.wait(LOOK_MS):
                self.bury(ready)
            self.adopt()


def leave(*_: object) -> NoReturn:
    raise OwnerGoneError


def import_checkers(template: Template, names: Sequence[str]) -> None:
    """Import the checkers; end this process with an explanation where one cannot be used, and with a traceback where one fails."""
    for name in names:
        template.say("importing", name)
        try:
            checker = warm_checker(name)
            if isinstance(checker.score, OwnFunction | PoolTool):
                template.asks[name] = checker.score.marks
            refuse_what_a_fork_lacks(name)
        except OwnCodeError as error:
            traceback.print_exception(error.__cause__ or error)
            template.say("refused", str(error)[:MAX_WHY_CHARS])
            sys.exit(1)
        except BaseException:
            traceback.print_exc()  # before the channel closes, at which the owner stops to listen
            raise
    for stream in filter(None, (sys.stdout, sys.__stdout__)):
        stream.flush()  # else every fork would print it again


def refuse_what_a_fork_lacks(name: str) -> None:
    """Raise OwnCodeError where an import has started threads, which no fork has, or processes, which would belong to all forks."""
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise OwnCodeError(
            f"checker {name!r} started {threads - 1} threads when it was imported, and the workers, which are forks, have none of them: "
            "start threads at the first call"
        )
    if children := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        raise OwnCodeError(
            f"checker {name!r} started {len(children)} processes when it was imported, which the workers cannot share: "
            "start them at the first call"
        )


def main(arguments: list[str], become: Become = be_worker) -> None:
    """Be the template until the owner ends. `serve` returns in every fork, which leaves this function as what it has to become."""
    descriptor, owner_pid, memory_mb, code, *warm = arguments
    die_with(int(owner_pid), signal.SIGTERM)
    adopt_orphans()
    size = int(memory_mb) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(int(descriptor), False)  # programs that a checker starts cannot speak for this process
    limits = CodeLimits(**json.loads(code))
    me = os.getpid()
    template = Template(Channel.inherited(int(descriptor)))
    import_checkers(template, warm)
    gc.collect()
    gc.freeze()  # pages that workers share with the template stay shared: their collector does not write to them
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # imported code may have asked not to hear of its children's ends
    polite = can_be_polite()
    try:
        job = template.serve()
    except (OwnerGoneError, ConnectionError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it may come as well, and must not interrupt the end
        template.end()
        return
    template.children.forget()
    become(me, job, limits, warm, polite)


if __name__ == "__main__":
    main(sys.argv[1:])
