"""A run of a program as its owner sees it: its processes, their output, and the limits that end them.

A run's own time is the time on the clock less the time that its processes waited for a core, so that a busy machine fails no right program.
"""

import contextlib
import fcntl
import math
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reward.processes.children import is_exiting
from reward.processes.descriptors import read_now, write_all
from reward.processes.own_time import core_times
from reward.programs.child_owner import Child, Ended
from reward.programs.launcher_owner import START_S, LauncherProcess, SandboxError
from reward.programs.limits import CodeLimits

EXITING_S = 1.0  # a program whose first thread alone has ended looks so for ever
PATIENCE = 10  # times its limit that a run may last on the clock
LOOK_S = 0.05  # how often a folder on disk is measured
LONGEST_ANSWERS = 8  # times output_kb, for all results of a function
READY = b"ready"
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

Hear = Callable[[Any], bool]


class Run:
    """The processes of one run; leaving the `with` block ends them and frees every descriptor."""

    def __init__(self, launcher: LauncherProcess, limits: CodeLimits) -> None:
        self.launcher, self.limits = launcher, limits
        self.children: list[Child] = []
        self._answers = -1
        self._line = bytearray()
        self._heard = 0
        self.last = b""  # line of answers, passed on or not
        self._files = contextlib.ExitStack()
        self._poll = select.poll()

    def __enter__(self) -> Self:
        self._poll.register(self.launcher, select.POLLIN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._files:
            if not self.launcher.closed:
                self._end(self.children)

    def start(self, kind: str, texts: dict[str, str], *, runs: int = 1, channel: int | None = None, answers: bool = False) -> Child:
        """Start a process and wait until its walls are closed; SandboxError where that fails.

        texts: its inputs by name; "source" is needed, "stdin" may be left out. runs: how many times timeout_s its CPU limit allows.
        """
        with contextlib.ExitStack() as theirs:
            fds = {name: sealed(text, theirs) for name, text in ({"stdin": ""} | texts).items()}
            ours = {}
            for name in ["stdout", "stderr", "status"] + ["answers"] * answers:
                ours[name], fds[name] = self._pipe(theirs)
            if channel is not None:
                fds["channel"] = channel
            role = "tester" if kind == "tests" else "program"
            limits = self.limits
            size = {"memory_mb": limits.memory_mb, "disk_mb": limits.disk_mb, "cpu_s": math.ceil(limits.timeout_s * runs) + 1}
            order = {"kind": kind, "role": role, "fds": list(fds), "limits": size, "prelude": limits.prelude}
            number, pid = self.launcher.start(order, list(fds.values()))
        child = Child(number, pid, role, ours["stdout"], ours["stderr"])
        self.children.append(child)
        self._wait_for_walls(ours["status"])
        for output in child.outputs:
            self._poll.register(output.descriptor, select.POLLIN)
        if answers:
            self._answers = ours["answers"]
            self._poll.register(self._answers, select.POLLIN)
        return child

    def _pipe(self, theirs: contextlib.ExitStack) -> tuple[int, int]:
        reader, writer = os.pipe()
        self._files.callback(os.close, reader)
        theirs.callback(os.close, writer)
        os.set_blocking(reader, False)
        return reader, writer

    def _wait_for_walls(self, status: int) -> None:
        said = b""
        deadline = time.monotonic() + START_S
        while said != READY:
            if not select.select([status], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise SandboxError(f"the walls around a program were not closed after {START_S:g} s")
            if not (data := os.read(status, 4096)):
                raise SandboxError(f"the walls around a program do not close: {said.decode(errors='replace') or 'its process ended'}")
            said += data

    def follow(self, main: Child, hear: Hear | None = None) -> None:
        """Wait for the process's end, within all limits; `hear` gets each line of answers and says whether to go on.

        The time limit starts again with every line. Every process of the run has ended when this returns. SandboxError where a process
        was killed from outside, as the kernel does when memory is short; the filter of system calls lets no program kill itself that way.
        """
        self.watch(main, hear)
        self.finish(main, hear)

    def watch(self, main: Child, hear: Hear | None = None) -> None:
        """Wait within all limits until the process has ended, a limit has ended it, or `hear` wants no more lines."""
        self._begin()
        while main.status is None:
            if self.launcher.news:
                self._take_news()
                continue
            left = self.limits.timeout_s - self._own_time()
            if left <= 0 or time.monotonic() - self._began > PATIENCE * self.limits.timeout_s:
                self._kill(self.children, Ended.TIME)
                break
            wait = min(left, LOOK_S) if self.launcher.scratch else left
            ready = {descriptor for descriptor, _ in self._poll.poll(1000 * wait + 1)}
            self._take_output(ready)
            if self._answers in ready and not self._take_answers(main, hear):
                break
            if self.launcher.fileno() in ready:
                self._take_news()
            self._measure_folders()

    def finish(self, main: Child, hear: Hear | None = None) -> None:
        """End every process of the run and take in the rest of what they printed; raises as `follow` does."""
        self._end(self.children)
        for child in self.children:
            if child.outside and child.limit is None:
                raise SandboxError(
                    f"the {child.role} was killed from outside (SIGKILL), perhaps because memory was short: give the machine more memory, "
                    "or run fewer reward workers or a smaller code.memory_mb"
                )
        self.take_output()
        if self._answers != -1:
            self._take_answers(main, hear if main.limit is None else None)

    def renew(self) -> None:
        """Forget what was printed and answered until now; the limits of output start again."""
        self._heard = 0
        self.take_output()
        for output in (output for child in self.children for output in child.outputs):
            output.printed = 0
            output.data.clear()

    def take_output(self) -> None:
        """Take in everything that has been printed."""
        self._take_output({output.descriptor for child in self.children for output in child.outputs})

    def _begin(self) -> None:
        self._began, self._waited = time.monotonic(), self._waiting()

    def _own_time(self) -> float:
        return time.monotonic() - self._began - (self._waiting() - self._waited)

    def _waiting(self) -> float:
        """Seconds that the run's processes have waited for a core."""
        total = 0.0
        for child in self.children:
            with contextlib.suppress(OSError):  # it has ended, or this kernel does not count
                total += core_times(Path(f"/proc/{child.pid}/schedstat").read_bytes())[1]
        return total

    def _take_output(self, ready: set[int]) -> None:
        for child in self.children:
            for output in child.outputs:
                while output.descriptor in ready and (data := output.read()) is not None:
                    if not data:
                        self._forget(output.descriptor)
                        break
                    if output.printed > self.limits.output_kb << 10:
                        self._kill([child], Ended.OUTPUT)
                        self._forget(output.descriptor)
                        break

    def _take_answers(self, main: Child, hear: Hear | None) -> bool:
        """Pass on the lines that have come; False when `hear` wants no more."""
        while (data := read_now(self._answers)) is not None:
            if not data:
                self._forget(self._answers)
                self._answers = -1
                return True
            self._heard += len(data)
            if self._heard > LONGEST_ANSWERS * self.limits.output_kb << 10:
                self._kill([main], Ended.OUTPUT)
                return False
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                self.last = bytes(line)
                if hear is not None and not hear(line):
                    return False
                self._begin()
        return True

    def _forget(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(descriptor)

    def _take_news(self) -> None:
        news = self.launcher.news.popleft() if self.launcher.news else self.launcher.receive()
        for child in self.children:
            if child.number == news["ended"]:
                child.status, child.cpu_s, child.outside = news["status"], news["cpu_s"], news["outside"]

    def _measure_folders(self) -> None:
        if self.launcher.scratch is None:
            return
        for child in self.children:
            if child.status is None and self.launcher.scratch.full(child.role, self.limits.disk_mb):
                self._kill([child], Ended.DISK)

    def _kill(self, children: list[Child], why: Ended) -> None:
        for child in children:
            if child.status is None and child.limit is None:
                child.limit = why
                self.launcher.kill(child.number)

    def _end(self, children: list[Child]) -> None:
        """Kill what still runs and wait for it."""
        for child in children:
            self._wait_while_exiting(child)
            if child.status is None:
                self.launcher.kill(child.number)
        while any(child.status is None for child in children):
            self._take_news()

    def _wait_while_exiting(self, child: Child) -> None:
        """Wait for the news of a process that the kernel is ending: it closes its sockets before its end can be read.

        A kill that came in between would count as the cause of the end, and hide one from outside.
        """
        deadline = time.monotonic() + EXITING_S
        while child.status is None and is_exiting(child.pid) and (left := deadline - time.monotonic()) > 0:
            if self.launcher.news or select.select([self.launcher], [], [], left)[0]:
                self._take_news()


def sealed(text: str, files: contextlib.ExitStack) -> int:
    """A descriptor of a file in memory that holds the text and cannot be changed."""
    descriptor = os.memfd_create("text", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    files.callback(os.close, descriptor)
    write_all(descriptor, text.encode("utf-8", "surrogatepass"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    return descriptor
