"""One process for each side of a comparison: each JSON line on stdin is a job, and the process ends with its benchmark.

benchmark ── job ──► peer (python -m benchmarks.peer MODULE.SIDE [key=value ...])
          ◄─ answer ─┘     exits after its last job; otherwise it is killed with all its children
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import psutil

from benchmarks.rounds import CONFIG, OUT, ROOT
from configs.loader import load

ANSWER_S = 300.0  # the longest that a start or a job may take
GRACE_S = 20.0
LOG_LINES = 25

Work = Callable[[dict[str, Any]], dict[str, Any]]


def end_of_log(role: str) -> str:
    """The last lines that a process of this name wrote."""
    return "\n".join((OUT / "logs" / f"{role}.log").read_text(errors="replace").splitlines()[-LOG_LINES:])


class Peer:
    """The benchmark's handle of one process."""

    def __init__(self, side: str, env: Mapping[str, str], overrides: Sequence[str]) -> None:
        self.role = side
        words = [sys.executable, "-m", "benchmarks.peer", side, *overrides]
        log = OUT / "logs" / f"{self.role}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        pipe = subprocess.PIPE
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                words, cwd=ROOT, env=os.environ | env, stdin=pipe, stdout=pipe, stderr=errors, text=True, start_new_session=True
            )

    def tell(self, **job: Any) -> None:
        """Send a job without waiting for its answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The answer to the oldest unanswered job; the first answer says that the peer has started."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], ANSWER_S)[0]:
            raise TimeoutError(f"{self.role} did not answer within {ANSWER_S:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.role} ended without an answer. The end of its log:\n{end_of_log(self.role)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **job: Any) -> dict[str, Any]:
        self.tell(**job)
        return self.hear()

    def dismiss(self) -> None:
        """Close stdin: there are no more jobs."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()


@contextmanager
def peers(sides: Mapping[str, Mapping[str, str]], overrides: Sequence[str]) -> Iterator[dict[str, Peer]]:
    """A peer for every "module.side" with its environment, by the name of its side; all are ended afterwards.

    They start one after another: Ray gives up on a node that takes too long, and a small machine has no room for all at once.
    """
    started: dict[str, Peer] = {}
    try:
        for side, env in sides.items():
            print(f"  starting {side}", flush=True)
            name = side.split(".")[1]
            started[name] = Peer(side, env, overrides)
            started[name].hear()
        yield started
    finally:
        for peer in started.values():
            peer.dismiss()
        for peer in started.values():
            end_tree(peer.process)


def end_tree(process: subprocess.Popen[str]) -> None:
    """Wait a while for a process to exit, then kill it and everything it started."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def serve(side: str, overrides: Sequence[str]) -> None:
    """Run as a peer: do the jobs from stdin until it ends, and answer on stdout, to which nothing else may write."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        module, _, name = side.partition(".")
        with getattr(import_module(f"benchmarks.{module}"), name)(load(CONFIG, overrides)) as work:
            answers.write("{}\n")
            for line in sys.stdin:
                answers.write(json.dumps(work(json.loads(line))) + "\n")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
