"""A file with what reward workers print: their own output, the user's, and the errors of the user's functions."""

import os
import threading
from pathlib import Path

MOST_BYTES = 8 << 20


class OutputLog:
    """Appends to a file that never grows beyond `most` bytes: of a longer output the beginning and the end stay.

    The file is only appended to and cut, so another process or descriptor may append to it as well.
    """

    def __init__(self, path: Path, most: int = MOST_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.most = most
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append, and make room first where there is none; OSError where the disk is full."""
        with self._lock:
            if os.fstat(self._file).st_size + len(data) > self.most:
                self._make_room()
            os.write(self._file, data[-(self.most // 4) :])

    def _make_room(self) -> None:
        quarter, size = self.most // 4, os.fstat(self._file).st_size
        if size <= 2 * quarter:
            return
        first, last = os.pread(self._file, quarter, 0), os.pread(self._file, quarter, size - quarter)
        os.ftruncate(self._file, 0)
        os.write(self._file, first + b"\n[... left out, so that this file stays below %d MB ...]\n" % max(1, self.most >> 20) + last)

    def close(self) -> None:
        """Close the file; later output is an error."""
        with self._lock:
            os.close(self._file)
            self._file = -1  # its number may soon be another file's
