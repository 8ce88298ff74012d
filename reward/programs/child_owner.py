"""A process of a run seen from its owner: what it printed and how it ended."""

import os
import signal
from dataclasses import dataclass
from enum import StrEnum

from reward.processes.output import Output


class Ended(StrEnum):
    """How a run ended."""

    EXITED = "exited"
    KILLED = "killed"  # by a signal that it has caused itself, which cannot be SIGKILL
    TIME = "time"
    MEMORY = "memory"
    OUTPUT = "output"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What is left of a run."""

    stdout: bytes
    stderr: str  # its tail
    ended: Ended
    status: int  # exit status, or the signal's number where it was killed
    cpu_s: float

    @property
    def succeeded(self) -> bool:
        return self.ended is Ended.EXITED and self.status == 0


class Child:
    """One process of a run, which `reward.programs.child_main` confines and feeds."""

    def __init__(self, number: int, pid: int, role: str, stdout: int, stderr: int) -> None:
        self.number, self.pid, self.role = number, pid, role
        self.stdout, self.stderr = Output(stdout, most=None), Output(stderr)
        self.limit: Ended | None = None  # which limit its owner killed it for
        self.status: int | None = None  # of waitpid, None while it runs
        self.cpu_s = 0.0
        self.outside = False  # killed by neither its owner nor a limit

    @property
    def outputs(self) -> tuple[Output, Output]:
        return self.stdout, self.stderr

    def result(self) -> RunResult:
        """How it went, once it has ended."""
        assert self.status is not None
        text = self.stderr.tail
        killed = os.WIFSIGNALED(self.status)
        code = os.WTERMSIG(self.status) if killed else os.WEXITSTATUS(self.status)
        ended = Ended.KILLED if killed else Ended.EXITED
        if killed and code in (signal.SIGXCPU, signal.SIGKILL):
            ended = Ended.TIME
        elif code and text.rpartition("\n")[2].startswith("MemoryError"):
            ended = Ended.MEMORY
        late = self.limit is Ended.TIME and not killed  # it ended by itself just before it was killed
        return RunResult(
            stdout=bytes(self.stdout.data), stderr=text, ended=ended if late else self.limit or ended, status=code, cpu_s=self.cpu_s
        )
