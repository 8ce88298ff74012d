"""The state of a run, from its lock, its ledger and its metrics. Nothing is written, and a run at work is not disturbed."""

import fcntl
import os
import sqlite3
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from cluster.record.ledger import END
from cluster.record.metrics.best import SMOOTHED, Best, best_step
from cluster.record.metrics.lines import is_number
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.sinks import METRICS
from configs.errors import NoRun
from configs.sections.run import RunConfig

State = Literal["running", "finished", "stopped", "failed", "ended"]
DEPTH = 3  # folders between the one that is asked for and a run
STEPS = "SELECT max(step), max(finished) FROM steps WHERE NOT undone"
STARTED = "SELECT max(attempt), max(started) FROM attempts"
ENDED = "SELECT who, text FROM events WHERE kind = ? AND attempt = ? ORDER BY rowid DESC LIMIT 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run as a list shows it."""

    folder: Path
    state: State  # "ended": no end is on record
    step: int = 0  # the newest that stands
    steps: int | None = None  # of run.steps; None where the config cannot be read
    reward: float | None = None  # mean of the newest steps
    best: Best | None = None
    at: float | None = None  # when the newest step was finished, or else the run began; seconds of Unix time
    why: str = ""  # it failed, or cannot be read


def runs_below(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The run directories in a folder, the folder itself included. Nothing inside a run is searched, and no link is followed."""
    try:
        is_run = (folder / "config.toml").is_file() and any((folder / name).exists() for name in ("ledger.db", "lock", METRICS))
    except OSError:  # a folder of somebody else
        return
    if is_run:
        yield folder
    elif depth >= 0:
        try:
            inside = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
        except OSError:  # a folder of somebody else
            return
        for path in inside:
            yield from runs_below(Path(path), depth - 1)


def state_of(folder: Path) -> RunState:
    """The state of the run in a folder; what cannot be read of it is unknown, and `why` says so."""
    steps, why = steps_of(folder)
    found: dict[str, Any] = {"step": 0, "at": None}
    end = ("", "")
    try:
        found["step"], found["at"], end = read_ledger(folder / "ledger.db")
    except sqlite3.DatabaseError as error:
        why = f"ledger.db: {error}"
    in_ledger = found["step"]
    rows: list[dict[str, Any]] = []
    try:
        rows = read_metrics(folder) if (folder / METRICS).is_file() else []
    except (NoRun, OSError) as error:
        why = str(error)
    found["step"] = in_ledger or max((row["step"] for row in rows if type(row.get("step")) is int), default=0)
    rewards = [float(row["reward/mean"]) for row in rows if is_number(row.get("reward/mean"))][-SMOOTHED:]
    state: State = "ended"
    if is_locked(folder):
        state = "running"
    elif steps is not None and found["step"] >= steps:
        state = "finished"
    elif end[0] == "stopped":
        state = "stopped"
    elif end[0] == "failed":
        state, why = "failed", end[1]
    return RunState(
        folder=folder, state=state, steps=steps, reward=mean(rewards) if rewards else None, best=best_step(rows), why=why, **found
    )  # fmt: skip


def steps_of(folder: Path) -> tuple[int | None, str]:
    """run.steps, read without the rules of this version, which may refuse the config of another one; and why it is unknown."""
    try:
        table = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
        steps = table.get("run", {}).get("steps", RunConfig.model_fields["steps"].default)
    except (OSError, ValueError, AttributeError) as error:
        return None, f"config.toml: {error}"
    return (steps, "") if type(steps) is int else (None, f"config.toml: run.steps is {steps!r:.40}")


def read_ledger(path: Path) -> tuple[int, float | None, tuple[str, str]]:
    """The newest step that stands, its time or that of the newest start, and how the newest attempt ended, where that is on record."""
    if not path.is_file():
        return 0, None, ("", "")
    # Without a log beside it nobody writes: SQLite then needs no files of its own, which a folder may forbid.
    mode = "mode=ro" if path.with_name("ledger.db-wal").exists() else "immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"steps", "attempts"} <= tables:
            return 0, None, ("", "")
        step, finished = db.execute(STEPS).fetchone()
        attempt, started = db.execute(STARTED).fetchone()
        ended = db.execute(ENDED, (END, attempt)).fetchone() if "events" in tables else None
        return step or 0, max(filter(None, (finished, started)), default=None), ended or ("", "")


def is_locked(folder: Path) -> bool:
    """Whether a driver holds the lock of a run, which ends with its process however that ends."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a file system without locks
        return False
    return False


def age(at: float | None, now: float | None = None) -> str:
    """How long ago something was, in one unit."""
    if at is None:
        return "-"
    seconds = max(0.0, (time.time() if now is None else now) - at)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
