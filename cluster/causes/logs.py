"""The logs of roles: one file each, to which every attempt at a run appends under a heading of its own."""

import os
import re
from pathlib import Path

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HEADING = "--- gatewise: "
MOST_BYTES = 4_000_000  # of the end of a log that are read


def heading(role: str, node: str) -> str:
    """The line with which a role's output begins."""
    return f"{HEADING}{role} on {node}, process {os.getpid()} ---"


def latest(path: Path) -> str:
    """What the newest attempt wrote to a log, its end if it is long; empty if this machine cannot read the file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MOST_BYTES))
            text = COLOUR.sub("", file.read().decode(errors="replace"))
    except OSError:
        return ""  # the log lies on another node: the error itself still has a cause
    return text.rpartition(HEADING)[2].partition("\n")[2] if HEADING in text else text
