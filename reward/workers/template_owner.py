"""The template process seen from its owner: start it, have it fork, and hear of its workers' ends."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from reward.processes.channel import Channel
from reward.processes.children import describe_end
from reward.processes.output import Output
from reward.programs.limits import CodeLimits


def worker_environment() -> dict[str, str]:
    """The part of our environment that a worker may see: where code lies, and no secrets."""
    passed = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    one_thread = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}  # else numpy and pyarrow start some at import
    return passed | {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"} | one_thread


class TemplateGone(Exception):
    """The template has ended, or reads no more requests."""


class TemplateProcess:
    """One template process; the thread that makes it must outlive it, because the kernel ends a child with the *thread* that started it."""

    module = "reward.workers.template_main"

    def __init__(self, memory_mb: int, limits: CodeLimits, warm: Sequence[str], on_output: Callable[[bytes], None] | None = None) -> None:
        self.channel, theirs = Channel.pair()
        settings = [str(theirs.fileno()), str(os.getpid()), str(memory_mb), json.dumps(asdict(limits))]
        command = [sys.executable, "-P", "-s", "-m", self.module, *settings, *warm]
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                    pass_fds=(theirs.fileno(),), env=worker_environment(), start_new_session=True,
                )  # fmt: skip
        except OSError:
            self.channel.close()
            raise
        assert self.process.stdout is not None
        self.output = Output(self.process.stdout.fileno(), on_output=on_output)
        self.channel.wait_at_most(0)
        os.set_blocking(self.output.descriptor, False)
        self.ready = False
        self.importing = ""  # the checker whose code it imports now
        self.deadline = math.inf  # of time.monotonic, for being ready

    def ask(self, request: str, number: int, descriptors: Sequence[int] = ()) -> None:
        """Send one request; TemplateGone when nobody takes it."""
        try:
            self.channel.send([request, number], descriptors)
        except OSError as error:  # the buffer has room for hundreds of requests: a full one was not read for long
            raise TemplateGone(f"the template takes no requests: {error}") from error

    def answers(self) -> list[list[Any]]:
        """The answers that came since the last call; TemplateGone once it has ended and everything was read."""
        answers: list[list[Any]] = []
        while True:
            try:
                received = self.channel.receive()
            except BlockingIOError:
                return answers
            except ConnectionResetError:
                received = None
            if received is None:
                if answers:
                    return answers
                raise TemplateGone
            answers.append(received[0])

    def end(self, polite_s: float, firm_s: float) -> str:
        """Have it end its workers and itself, by force where it takes longer than polite_s; in words, how it ended."""
        self.channel.close()
        try:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(polite_s)
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(firm_s)
            self.output.read()
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()
        return describe_end(self.process.returncode)
