"""The driver's side of trackers: starts a follower for each, passes on what they complain of, and ends them within a bounded time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cluster.record.metrics.trackers.files import RunRecord
from cluster.record.metrics.trackers.following import Asked
from cluster.record.metrics.trackers.state import State, path_of, read_state
from configs.schema import Config

TROUBLED_S = 10.0  # that the end of a run waits for a tracker that is in trouble
HURRIED_S = 2.0  # the same where whoever stops the run will soon kill it
LOOK_S = 0.1
FOLLOW = "cluster.record.metrics.trackers.follow"
Say = Callable[[str], object]


class Followers:
    """A process for each tracker of one run."""

    def __init__(self, folder: Path, names: Sequence[str], asked: Asked, say: Say) -> None:
        self.folder, self.names, self.asked, self.say = folder, names, asked, say
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.looked: dict[str, int] = {}  # when the state that was looked at last was written
        self.told: set[tuple[str, str]] = set()  # what was said of whom

    def start(self) -> None:
        """Start them; returns at once."""
        for name in self.names:
            try:
                self.processes[name] = self._start(name)
            except OSError as error:
                self.say(f"warning: {name} could not be started ({error}); {self._later()}")

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        log = log_of(self.folder, name)
        log.parent.mkdir(exist_ok=True)
        self.looked[name] = stamp(self.folder, name)  # what an earlier attempt left is no news
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", FOLLOW, str(self.folder), name, self.asked.model_dump_json()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the driver
            )

    def tell(self) -> None:
        """Pass on where each tracker shows the run, and the first trouble of each; costs a look at a file's time."""
        for name in self.processes:
            if (written := stamp(self.folder, name)) != self.looked[name]:
                self.looked[name] = written
                self._tell(name, read_state(self.folder, name))

    def _tell(self, name: str, state: State) -> None:
        if state.url:
            self._once(name, "url", f"{name}: {state.url}")
        if state.trouble:
            self._once(name, "trouble", f"warning: {name} gets nothing at the moment ({state.trouble}); the run goes on")

    def _once(self, name: str, kind: str, line: str) -> None:
        if (name, kind) not in self.told:
            self.told.add((name, kind))
            self.say(line)

    def end(self, hurried: Callable[[], bool], troubled_s: float = TROUBLED_S) -> bool:
        """Let each send the rest, for a bounded time, then kill what is left; whether all have everything. Says what is missing."""
        started = time.monotonic()
        try:
            for process in self.processes.values():
                assert process.stdin is not None
                process.stdin.close()
            while self._working(time.monotonic() - started, HURRIED_S if hurried() else troubled_s, hurried()):
                time.sleep(LOOK_S)
                self.tell()
        finally:
            for process in self.processes.values():
                end(process)
        self.tell()
        return all([self._account(name) for name in self.names])

    def _working(self, seconds: float, troubled_s: float, hurried: bool) -> bool:
        """Whether a follower works that has time left."""
        left = False
        for name, process in self.processes.items():
            if process.poll() is None:
                troubled = bool(read_state(self.folder, name).trouble)
                left = left or seconds < (min(self.asked.end_s, troubled_s) if hurried or troubled else self.asked.end_s)
        return left

    def _account(self, name: str) -> bool:
        """Say what a tracker lacks at the end; whether it has everything."""
        process = self.processes.get(name)
        if process is not None and process.returncode == 0:
            return True
        record, state = RunRecord(self.folder), read_state(self.folder, name)
        record.read()
        first = next((step for step, _ in record.after(state.sent)), None)
        what = "has not confirmed what it was sent" if first is None else f"lacks the steps from {first} to {record.newest}"
        why = state.trouble or (f"see {log_of(self.folder, name)}" if process is not None else "it was not started")
        self.say(f"warning: {name} {what} ({why}); {self._later()}")
        return False

    def _later(self) -> str:
        return f"to send it later: gatewise track {self.folder}"


def log_of(folder: Path, name: str) -> Path:
    return folder / "logs" / f"tracker-{name}.log"


def stamp(folder: Path, name: str) -> int:
    """When a tracker's state was written; 0 before."""
    with suppress(OSError):
        return path_of(folder, name).stat().st_mtime_ns
    return 0


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a follower with everything that its library has started."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.wait()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def asked_of(config: Config) -> Asked:
    """What a follower needs to know of the config."""
    said = config.trackers
    return Asked(
        project=said.project,
        name=said.name or config.run_dir.name or "run",
        offline=said.offline,
        responses_every=said.responses_every,
        end_s=float(said.end_s),
    )


@contextmanager
def followed(config: Config, say: Say, hurried: Callable[[], bool]) -> Iterator[Followers]:
    """Followers that are not started yet; they end with the block, also by an error or a stop."""
    followers = Followers(config.run_dir, config.followed_by, asked_of(config), say)
    try:
        yield followers
    finally:
        if followers.processes:
            followers.end(hurried)
