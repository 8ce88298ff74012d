"""How much time a process has had for itself, on a machine that has other things to do."""

import os
from pathlib import Path


def core_times(record: bytes) -> tuple[float, float]:
    """Seconds on a core, and seconds ready while no core was free: the content of /proc/PID/schedstat, which is about the main thread."""
    on_core, waited, _ = record.split()
    return int(on_core) / 1e9, int(waited) / 1e9


class OwnTime:
    """The time that a process has spent on a core or asleep since its current item began, without the time it waited for a core.

    The kernel adds a wait to `core_times` only when the wait has ended. So while the process is ready, only its time on a core counts. On a
    kernel without /proc/PID/schedstat all time counts.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        try:
            self._file = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._file = -1
        self.since = self._seen = self._own = self._on_core = self._waited = 0.0

    def restart(self, now: float) -> None:
        """An item begins; `now` is of time.monotonic."""
        self.since = self._seen = now
        self._own = 0.0
        self._on_core, self._waited = self._read()

    def took(self, now: float) -> float:
        """Seconds that an item has taken which ended just now; the process was on a core a moment ago."""
        return self._own + max(0.0, now - self._seen - (self._read()[1] - self._waited))

    def spent(self, now: float) -> float:
        """Seconds that the current item has taken until now."""
        on_core, waited = self._read()
        if self._file >= 0 and self._ready():
            self._own += max(0.0, on_core - self._on_core)
        else:
            self._own += max(0.0, now - self._seen - (waited - self._waited))
        self._seen, self._on_core, self._waited = now, on_core, waited
        return self._own

    def close(self) -> None:
        """Free the descriptor; may be repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self) -> tuple[float, float]:
        if self._file < 0:
            return 0.0, 0.0
        try:
            return core_times(os.pread(self._file, 100, 0))
        except ProcessLookupError:  # it has ended, and its owner will hear of that soon
            return self._on_core, self._waited

    def _ready(self) -> bool:
        try:
            return Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"
        except (FileNotFoundError, ProcessLookupError):
            return False
