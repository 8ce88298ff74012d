"""Stops requests to a service that has stopped answering, except for one probe from time to time."""

import threading
import time

IN_A_ROW = 8  # items without any answer after which a service counts as silent


class Breaker:
    """Lets every request through until IN_A_ROW items got no answer, then one every `probe_s` seconds until an answer comes.

    It may be used from several threads.
    """

    def __init__(self, probe_s: float) -> None:
        self.probe_s = probe_s
        self._lock = threading.Lock()
        self._row = 0
        self._next = 0.0  # when the next request is let through to a silent service

    def silent(self, *, take: bool) -> bool:
        """Whether no request may be made now. To a silent service one request passes in `probe_s` seconds; `take` uses it up."""
        with self._lock:
            if self._row < IN_A_ROW:
                return False
            now = time.monotonic()
            if now < self._next:
                return True
            if take:
                self._next = now + self.probe_s
            return False

    def answered(self) -> None:
        """The service has answered: the row is over."""
        with self._lock:
            self._row = 0

    def failed(self) -> None:
        """An item got no answer in all its tries."""
        with self._lock:
            if self._row < IN_A_ROW:
                self._row += 1
                self._next = time.monotonic() + self.probe_s
