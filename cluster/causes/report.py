"""What a person reads when a run fails: at most 30 lines with the cause last; the whole traceback goes to a file."""

import traceback
from datetime import datetime
from pathlib import Path

from cluster.causes.cause import MOST_LINES, find_cause
from cluster.causes.chain import first_cause, raised_by_us
from configs.schema import Config

DRIVER_LOG = Path("logs") / "driver.log"


def report(error: BaseException, config: Config | None, oom_kills_before: int | None = None) -> list[str]:
    """The lines for the terminal. A refusal of what the user gave needs no traceback, so it writes none."""
    cause = find_cause(error, config, oom_kills_before=oom_kills_before)
    if cause.role is None and isinstance(error, ValueError):
        return cause.lines()
    whole = "".join(traceback.format_exception(error))
    kept = keep(whole, config)
    where = f"traceback of the driver: {kept}" if kept else ""
    bug = "this looks like a bug in gatewise: please report it" if cause.bug else ""
    told = cause.lines(where, bug)
    untold = cause.bug or not (kept or cause.role or cause.advice or raised_by_us(first_cause(error)))
    return [*whole.rstrip().splitlines()[-(MOST_LINES - len(told)) :], *told] if untold else told


def keep(text: str, config: Config | None) -> Path | None:
    """Append a traceback to the run's driver.log; None if there is no run directory that can be written."""
    if config is None or not config.run_dir.is_dir():
        return None
    path = config.run_dir / DRIVER_LOG
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}\n{text}\n")
    except OSError:
        return None  # a full or read-only disk may be the very failure that is reported
    return path
