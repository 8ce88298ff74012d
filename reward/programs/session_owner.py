"""A session seen from its owner: programs go to one confined interpreter, one after the other, until a limit or a program ends it.

Between programs the process is stopped, so that threads that a program has left take no time.
"""

import contextlib
import json
import os
import select
import time
from dataclasses import dataclass

from reward.programs.child_owner import Ended, RunResult
from reward.programs.launcher_owner import LauncherProcess
from reward.programs.limits import CodeLimits
from reward.programs.run import Run

MOST_RUNS = 1000  # programs of one session that may each take the whole of their time
SEND_S = 5.0  # for the interpreter to read a program


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What came of one program: what the model is shown."""

    text: str
    ok: bool  # it raised nothing and no limit ended it
    fresh: bool = False  # it ran in a new interpreter, because the one before had ended


class Session:
    """One interpreter, used by the thread that made its launcher; `close` ends it. A launcher has one session at a time."""

    def __init__(self, launcher: LauncherProcess, limits: CodeLimits) -> None:
        self.limits, self.number = limits, 0
        with contextlib.ExitStack() as files:
            self._run = files.enter_context(Run(launcher, limits))
            theirs, self._channel = os.pipe2(os.O_CLOEXEC)  # no socket, through which a program could send descriptors
            files.callback(os.close, self._channel)
            os.set_blocking(self._channel, False)
            try:
                self._child = self._run.start("session", {"source": ""}, runs=MOST_RUNS, channel=theirs, answers=True)
            finally:
                os.close(theirs)
            launcher.stop(self._child.number)
            self._files = files.pop_all()

    @property
    def ended(self) -> bool:
        """Whether a program or a limit has ended the interpreter."""
        return self._child.status is not None

    def run(self, program: str) -> Printed:
        """Run a program with the names of those before it; SandboxError where the interpreter was killed from outside."""
        assert not self.ended, "this interpreter has ended"
        self.number += 1
        heard = b""

        def hear(line: bytes) -> bool:
            nonlocal heard
            number, _, ok = bytes(line).partition(b" ")
            if number == b"%d" % self.number:
                heard = ok
            return not heard

        self._run.renew()
        self._run.launcher.resume(self._child.number)
        self._send(program)
        self._run.watch(self._child, hear)
        if heard and self._child.limit is None and self._child.status is None:
            self._run.launcher.stop(self._child.number)
            self._run.take_output()
            return Printed(text=self._text(), ok=heard == b"1")
        self._run.finish(self._child)
        text = self._text()
        return Printed(text=f"{text}{chr(10) * bool(text)}{self._how_it_ended()}", ok=False)

    def _send(self, program: str) -> None:
        left = memoryview(json.dumps({"program": program, "number": self.number}).encode() + b"\n")
        deadline = time.monotonic() + SEND_S
        while left and (wait := deadline - time.monotonic()) > 0 and select.select([], [self._channel], [], wait)[1]:
            try:
                left = left[os.write(self._channel, left[: select.PIPE_BUF]) :]
            except BrokenPipeError:  # it has ended, or a thread of an earlier program has closed its end: no answer will come
                return

    def _text(self) -> str:
        stdout, stderr = self._child.outputs
        return (bytes(stdout.data) + bytes(stderr.data)).decode(errors="replace")

    def _how_it_ended(self) -> str:
        """The end of the interpreter in words for the model."""
        limits = self.limits
        why = {
            Ended.TIME: f"it took more than {limits.timeout_s:g} s",
            Ended.MEMORY: f"it needed more than {limits.memory_mb} MB",
            Ended.OUTPUT: f"it printed more than {limits.output_kb} kB",
            Ended.DISK: f"it wrote more than {limits.disk_mb} MB",
        }
        result: RunResult = self._child.result()
        cause = why.get(result.ended) or f"it ended its interpreter ({result.ended}, status {result.status})"
        return f"[the program was ended: {cause}; all variables are lost, and the next program starts anew]"

    def close(self) -> None:
        """End the interpreter and free every descriptor; may be repeated."""
        self._files.close()
