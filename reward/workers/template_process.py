"""The template process seen from its owner: start it, have it fork, and hear of its workers' ends."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from reward.programs.limits import CodeLimits

TAIL_BYTES = 4096


def worker_environment() -> dict[str, str]:
    """What a worker may see of our environment: where code lies, and no secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return kept | {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}


class TemplateGone(Exception):
    """The template has ended, or no longer reads what it is told."""


class TemplateProcess:
    """One template process; the thread that makes it must outlive it, because the kernel ends a child with the *thread* that started it."""

    def __init__(self, memory_mb: int, limits: CodeLimits, warm: Sequence[str]) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings = [str(theirs.fileno()), str(os.getpid()), str(memory_mb), json.dumps(asdict(limits))]
        command = [sys.executable, "-P", "-s", "-m", "reward.workers.template", *settings, *warm]
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
        self.output = self.process.stdout.fileno()
        self.channel.setblocking(False)
        os.set_blocking(self.output, False)
        self.ready = False
        self.deadline = math.inf  # of time.monotonic, for being ready
        self._tail = b""

    @property
    def output_tail(self) -> str:
        """The last that the template printed, for people."""
        return self._tail.decode(errors="replace").strip() or "(nothing)"

    def ask(self, request: str, number: int, descriptors: Sequence[int] = ()) -> None:
        """Send one request; TemplateGone when nobody takes it."""
        try:
            socket.send_fds(self.channel, [json.dumps([request, number]).encode()], descriptors)
        except OSError as error:  # its buffer holds hundreds of requests: one that is full was not read for long
            raise TemplateGone(f"the template takes no requests: {error}") from error

    def answers(self) -> list[list[Any]]:
        """What it has said since; TemplateGone once it has ended and everything was read."""
        said: list[list[Any]] = []
        while True:
            try:
                data = self.channel.recv(4096)
            except BlockingIOError:
                return said
            except ConnectionResetError:
                data = b""
            if not data:
                if said:
                    return said
                raise TemplateGone
            said.append(json.loads(data))

    def keep_output(self) -> bool:
        """Read what it printed; False when nothing more will come."""
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return True
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        return bool(data)

    def end(self, polite_s: float, firm_s: float) -> str:
        """Have it end its workers and itself, by force where it takes longer than polite_s; in words, how it ended."""
        self.channel.close()
        try:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(polite_s)
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(firm_s)
            self.keep_output()
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()
        status = self.process.returncode
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
