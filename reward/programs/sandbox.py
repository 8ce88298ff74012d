"""Runs untrusted programs: each in a confined process of its own, with limits of time, memory, output and disk.

```
owner ──► launcher ──fork──► child closes its walls, says "ready", runs the program
  ▲ stdout, stderr, lines of answers ◄────────────────────────────────┘
```
A program never gets what it must not know. `reward.programs.walls` confines it, `reward.programs.run` limits it.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Self

from reward.programs.child_owner import RunResult
from reward.programs.launcher_owner import LauncherProcess
from reward.programs.limits import CodeLimits
from reward.programs.run import Hear, Run
from reward.programs.tester import OWN, READY, SHARED
from reward.programs.walls import Unconfined


class Sandbox:
    """Runs programs one after the other; its launcher starts with the first and lives until `close`.

    without: walls to leave out as if this machine lacked them, of `reward.programs.walls.PARTS`. Used by one thread, which must outlive it.
    """

    def __init__(self, limits: CodeLimits, without: Sequence[str] = ()) -> None:
        self.limits, self.without = limits, without
        self._launcher: LauncherProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def launcher(self) -> LauncherProcess:
        """The launcher, started when it is needed; Unconfined (a ValueError) where this machine cannot confine a program."""
        if self._launcher is None or self._launcher.closed:
            self._launcher = LauncherProcess(unsafe=self.limits.unsafe, without=self.without)
        return self._launcher

    @property
    def walls(self) -> str:
        """The walls around a program, in words."""
        return self.launcher.walls

    def close(self) -> None:
        """End the launcher and the programs that it runs; a new one starts when it is needed."""
        if self._launcher is not None:
            self._launcher.close()

    def abort(self) -> None:
        """End what runs now, from any thread: its owner gets a SandboxError."""
        if self._launcher is not None and not self._launcher.closed:
            self._launcher.process.kill()

    def run(self, source: str, stdin: str = "", kind: str = "script") -> RunResult:
        """Run a program with this input; of the kind "cell" as `reward.programs.cell` does."""
        with Run(self.launcher, self.limits) as run:
            program = run.start(kind, {"source": source, "stdin": stdin})
            run.follow(program)
        return program.result()

    def call(self, source: str, name: str, calls: Sequence[Any], hear: Hear) -> RunResult:
        """Call a function of the program for each list of encoded arguments (`reward.programs.values`); `hear` gets every result's line."""
        with Run(self.launcher, self.limits) as run:
            data = json.dumps({"name": name, "calls": calls})
            program = run.start("calls", {"source": source, "data": data}, runs=len(calls), answers=True)
            run.follow(program, hear)
        return program.result()

    def test(self, source: str, prelude: str, tests: Mapping[str, Any], hear: Hear) -> RunResult:
        """Run tests (`reward.programs.tester.run_tests`) beside the program; `hear` gets a line about each. How the tester ended.

        prelude: Python that runs before the program, in its process and with its names. ValueError where the tests themselves end, or
        exceed a limit: before the program starts, or before any test has used it.
        """
        started = False

        def listen(line: bytes) -> bool:
            nonlocal started
            if line == READY:
                run.start("objects", {"source": source, "prelude": prelude}, runs=runs, channel=ours.fileno())
                ours.close()
                started = True
            return line in (READY, OWN, SHARED) or hear(line)

        with Run(self.launcher, self.limits) as run:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                runs = len(tests["tests"])
                tester = run.start("tests", {"source": json.dumps(tests)}, runs=runs, channel=theirs.fileno(), answers=True)
                theirs.close()
                run.follow(tester, listen)
        result = tester.result()
        if not started or run.last == OWN:
            place = "a test, before it uses the program," if started else "the tests' setup"
            raise ValueError(
                f"the reference's tests cannot run: {place} ends by {result.ended} (status {result.status}) {result.stderr[-200:]}"
            )
        return result


def describe_confinement(limits: CodeLimits, without: Sequence[str] = ()) -> str:
    """Which walls stand around a program on this machine, in words; Unconfined (a ValueError) where there are too few.

    It starts a launcher and runs a program of one line, so it reports the walls that work, not those that should.
    """
    with Sandbox(limits, without) as sandbox:
        result = sandbox.run("import json, decimal; print(json.dumps(6 * 7))")
        if not result.succeeded or result.stdout.strip() != b"42":
            said = f"it ended by {result.ended} with status {result.status}: {result.stderr or '(it printed nothing)'}"
            raise Unconfined(f"a program of one line does not run in the sandbox ({sandbox.walls}); {said}")
        return sandbox.walls
