"""The launcher seen from its owner: start `reward.programs.launcher_main`, have it start and kill children, end it."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reward.processes.channel import Channel
from reward.programs.scratch import Scratch
from reward.programs.walls import Unconfined

START_S = 30.0  # for the launcher to start and to answer
ROOT = Path(__file__).resolve().parents[2]
# The launcher must find its own modules, and the programs it forks must not find ours.
CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from reward.programs.launcher_main import main; sys.path.pop(0); main()"


class SandboxError(RuntimeError):
    """A program could not be run, through no fault of its own."""


class LauncherProcess:
    """One launcher. The thread that starts it must outlive it: the kernel ends a child with the thread that started it."""

    def __init__(self, *, unsafe: bool, without: Sequence[str] = ()) -> None:
        self._channel, theirs = Channel.pair()
        arguments = [str(ROOT), str(theirs.fileno()), str(os.getpid()), "unsafe" if unsafe else "safe", ",".join(without)]
        nothing = subprocess.DEVNULL
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", CODE, *arguments], stdin=nothing, stdout=nothing, stderr=subprocess.PIPE,
                env={}, cwd="/", pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        self._channel.wait_at_most(START_S)
        self.scratch: Scratch | None = None  # where the launcher has no folders in memory
        found = self.receive()
        if "refused" in found:
            self.close()
            raise Unconfined(found["refused"])
        self.walls: str = found["walls"]
        if not found["tree"]:
            self.scratch = Scratch(found["user"])
        self._count = 0
        self.news: deque[dict[str, Any]] = deque()  # ends that were reported while an answer to `start` was awaited

    def fileno(self) -> int:
        return self._channel.fileno()

    def start(self, order: dict[str, Any], fds: Sequence[int]) -> tuple[int, int]:
        """Have a child started with these descriptors; its number and its process id."""
        self._count += 1
        folder = self.scratch.empty(order["role"]) if self.scratch else ""
        self._send(order | {"start": self._count, "folder": folder}, fds)
        while "pid" not in (message := self.receive()):
            self.news.append(message)
        return self._count, int(message["pid"])

    def kill(self, number: int) -> None:
        """Have a child killed; nothing happens where it has ended."""
        self._send({"kill": number})

    def stop(self, number: int) -> None:
        """Have a child stopped, so that it gets no time until `resume`."""
        self._send({"stop": number})

    def resume(self, number: int) -> None:
        """Have a stopped child go on."""
        self._send({"resume": number})

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            self._channel.send(message, descriptors)
        except OSError as error:
            raise self._lost(error) from error

    def receive(self) -> dict[str, Any]:
        """The launcher's next message; SandboxError where none comes."""
        try:
            received = self._channel.receive()
        except OSError as error:
            raise self._lost(error) from error
        if received is None:
            raise self._lost("it closed its channel")
        message: dict[str, Any] = received[0]
        return message

    def _lost(self, why: object) -> SandboxError:
        self.process.kill()
        _, printed = self.process.communicate()
        self.close()
        return SandboxError(
            f"the launcher of programs is lost ({why}); it printed: {printed.decode(errors='replace')[-500:].strip() or '(nothing)'}"
        )

    @property
    def closed(self) -> bool:
        return self._channel.closed

    def close(self) -> None:
        """End the launcher and whatever it runs; may be repeated."""
        self._channel.close()
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        if self.scratch is not None:
            self.scratch.remove()
