"""The user's side: asks the driver of a run for another number of engines, and reads how it goes. Needs no Ray, and works on any node."""

import fcntl
import re
import time
from pathlib import Path

from cluster.record.metrics.lines import read_lines
from cluster.record.metrics.sinks import METRICS
from cluster.record.scaling.files import AUTO, REQUEST, STATUS, Asked, BadFile, Request, Status, new_request, read, write
from configs.errors import InputError, NoRun
from configs.loader import load

PATIENCE_S = 60.0  # for the driver's answer: shared file systems may show a new file late
LOOK_S = 0.2


def status_of(folder: Path) -> Status:
    """The engines of a run at work; NoRun for a folder without one, InputError while it is starting."""
    refuse_idle(folder)
    try:
        found = read(folder, STATUS, Status)
    except BadFile as error:
        raise InputError(f"{error}: the driver writes it again at its next change; another program has changed it") from error
    if found is None:
        raise InputError(f"the run in {folder} is starting and has no engines yet: ask again when it trains")
    return found


def ask(folder: Path, count: Asked, patience_s: float = PATIENCE_S) -> Status:
    """Ask for `count` engines and return the status with the driver's answer; InputError if it refuses or does not answer."""
    refuse_idle(folder)
    request = new_request(count)
    try:
        write(folder, REQUEST, request)
    except OSError as error:
        raise InputError(f"the request cannot be written to {folder / REQUEST} ({error.strerror}): free the disk, or the folder") from error
    ends = time.monotonic() + patience_s
    while time.monotonic() < ends:
        found = answered(folder, request)
        if found is not None:
            return found
        time.sleep(LOOK_S)
        refuse_idle(folder)
    raise InputError(
        f"the driver of {folder} has not answered within {patience_s:g} s. The request stands: it is read when the run has its engines"
    )


def answered(folder: Path, request: Request) -> Status | None:
    """The status once it answers the request; InputError if the driver refuses, or if another request has replaced this one."""
    try:
        status, standing = read(folder, STATUS, Status), read(folder, REQUEST, Request)
    except BadFile as error:
        raise InputError(f"{error}: another program has changed it, ask again") from error
    if status is not None and status.answer is not None and status.answer.id == request.id:
        if status.answer.refused:
            raise InputError(f"engines: {status.answer.said}")
        return status
    if standing is not None and standing.id != request.id:
        raise InputError(f"another request ({standing.count}) has replaced this one ({request.count}): ask again if yours counts")
    return None


def refuse_idle(folder: Path) -> None:
    """Raise NoRun where a folder holds no run, or one that no driver works on."""
    path = folder / "config.toml"
    if not path.is_file():
        what = "holds no run: it has no config.toml" if folder.is_dir() else "is no folder"
        raise NoRun(f"{folder} {what}; give the run.dir of a run that works now")
    if is_locked(folder):
        return
    done, steps = steps_done(folder), load(path).run.steps
    if done >= steps:
        raise NoRun(f"the run in {folder} has finished all its {steps} steps, and its engines have ended")
    raise NoRun(
        f"no driver works on the run in {folder} (step {done} of {steps}): continue it with "
        f"`python -m cluster train {path} run.resume=auto`, with any rollout.engines"
    )


def steps_done(folder: Path) -> int:
    """The newest step in the metrics of a run."""
    path = folder / METRICS
    return max((int(row.get("step", 0)) for row in read_lines(path)), default=0) if path.is_file() else 0


def is_locked(folder: Path) -> bool:
    """Whether a driver holds the lock of the run directory; takes it for a moment to see."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(
            f"the file system of {folder} has no locks ({error.strerror}), so whether its driver works is not known"
        ) from error
    return False


def count_of(text: str) -> Asked:
    """A number of engines as a user writes it; ValueError says what is needed."""
    if text == AUTO:
        return AUTO
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise ValueError(f'got {text!r:.40}, needed a whole number of engines from 1, or "auto" to follow the nodes again')
    return int(text)
