"""Draws a run's pictures and its report in a process of its own: now and then while the run works, and once more however it ends.

The driver never imports matplotlib, never waits for a picture in the loop, and no failure to draw ends a run.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.record.metrics.sinks import METRICS

EVERY_S = 60.0  # least time between two pictures
SHARE = 0.01  # of the time that drawing may take
LAST = 19  # niceness of a drawing while the run works: everything else goes first
LONGEST_S = 60.0  # that the end of a run waits for its picture
PICTURES = "cluster.record.pictures.draw"
REPORT = "cluster.report.draw"  # the pictures too; a name, because a report reads the record and is not read by it


class Artist:
    """Redraws the pictures of one run, and with `report` its report, when they are due."""

    def __init__(self, folder: Path, report: bool = False) -> None:
        self.folder, self.module = folder, REPORT if report else PICTURES
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.due = time.monotonic() + EVERY_S

    def draw_when_due(self) -> None:
        """Start a drawing if the last one is done and long enough ago; returns at once."""
        now = time.monotonic()
        if self.process is not None:
            if self.process.poll() is None:
                return
            self.process, self.due = None, now + max(EVERY_S, (now - self.started) / SHARE)
        if now >= self.due:
            self.started = now
            try:
                self.process = start_drawing(self.folder, LAST, self.module)
            except OSError:  # a full disk has no room for its log; a picture can wait
                self.due = now + EVERY_S


def start_drawing(folder: Path, niceness: int = 0, module: str = PICTURES) -> subprocess.Popen[bytes]:
    """A process that draws and ends; its output goes to `logs/pictures.log`."""
    log = log_of(folder)
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(folder), str(os.getpid()), str(niceness)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the driver
        )


def log_of(folder: Path) -> Path:
    return folder / "logs" / "pictures.log"


@contextmanager
def drawn_at_the_end(
    folder: Path, say: Callable[[str], None], unless: Callable[[], bool] = lambda: False, report: bool = False
) -> Iterator[None]:
    """Draw the pictures when the block ends, also by an error or a stop; nothing if the run has no numbers yet, or no time.

    With `report` the report is written too.
    """
    try:
        yield
    finally:
        if (folder / METRICS).exists() and not unless() and not _draw(folder, REPORT if report else PICTURES):
            say(f"the pictures could not be drawn: see {log_of(folder)}")


def _draw(folder: Path, module: str) -> bool:
    """Whether a drawing succeeds within LONGEST_S."""
    try:
        process = start_drawing(folder, 0, module)
    except OSError:
        return False
    try:
        return process.wait(LONGEST_S) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.kill()
        process.wait()
