"""The process of an engine on this machine, so that a selfcheck can end it without warning."""

import os
import re
import signal
from pathlib import Path

from cluster.causes.logs import HEADING

ACTOR, CORE = "EngineActor", "EngineCore"
PROC = Path("/proc")


def kill_engine(run_dir: Path, index: int) -> bool:
    """Send SIGKILL to the engine core of engine `index`; False where it does not run on this machine."""
    actor = actor_of(run_dir / "logs" / f"engine-{index}.log")
    if actor is None:
        return False
    core = next((child for child in children(actor) if CORE in words_of(child)), actor)
    os.kill(core, signal.SIGKILL)
    return True


def actor_of(log: Path) -> int | None:
    """The process that wrote the newest heading of an engine's log; None where no such engine runs here."""
    found = re.findall(rf"^{HEADING}engine-\d+ on \S+, process (\d+) ---$", log.read_text(errors="replace") if log.is_file() else "", re.M)
    # On another node the same number belongs to another process, or to none.
    return int(found[-1]) if found and ACTOR in words_of(int(found[-1])) else None


def words_of(process: int) -> str:
    """The command line of a process with its title; empty where it has ended."""
    try:
        return (PROC / str(process) / "cmdline").read_text(errors="replace") + (PROC / str(process) / "comm").read_text(errors="replace")
    except OSError:
        return ""


def children(process: int) -> list[int]:
    """The child processes of a process."""
    try:
        return [int(child) for task in (PROC / str(process) / "task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []
