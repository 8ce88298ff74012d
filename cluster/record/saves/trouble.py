"""Why a save failed, in words."""

from cluster.causes.chain import first_cause
from cluster.causes.known import known
from cluster.causes.tracebacks import one_line

DISK = ("disk full", "read-only file system", "permission denied")  # known causes that a person can mend while the run goes on


def words(error: BaseException) -> str:
    """An error in one line, with the plain name of a known cause."""
    root = first_cause(error)
    line = one_line(f"{type(root).__name__}: {root}")
    row = known(line)
    return f"{row.name}: {line}" if row else line


def words_of_the_disk(error: BaseException) -> str:
    """The name of a trouble of the disk; empty if the error has another reason."""
    root = first_cause(error)
    row = known(f"{type(root).__name__}: {root}")
    return row.name if row and row.name in DISK else ""
