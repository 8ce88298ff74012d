"""The items that have killed their workers, known by a digest, so that none of them kills another worker."""

import hashlib
import threading
from collections import OrderedDict

MOST = 10_000


class Quarantine:
    """Remembers the last 10,000 items that failed as crashed, and how; usable from any thread."""

    def __init__(self) -> None:
        self._failures: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, payload: str, failure: str) -> None:
        """Remember an item, in place of the oldest where there are too many."""
        with self._lock:
            self._failures[_digest(payload)] = failure
            if len(self._failures) > MOST:
                self._failures.popitem(last=False)

    def find(self, payload: str) -> str | None:
        """How the item killed its workers; None when it has not."""
        return self._failures.get(_digest(payload)) if self._failures else None


def _digest(payload: str) -> bytes:
    return hashlib.blake2b(payload.encode(), digest_size=16).digest()
