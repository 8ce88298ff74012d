"""Standard output of a run, which outlives its terminal, its pipe and its disk."""

import errno
import os
import sys
from typing import Any, TextIO


class Output:
    """Standard output as it is at each write: a closed terminal or pipe ends no training, and a full disk costs only lines."""

    @property
    def stream(self) -> TextIO:
        """The stream itself; a live table puts a proxy over it."""
        stream: TextIO = getattr(sys.stdout, "rich_proxied_file", sys.stdout)
        return stream

    def write(self, text: str) -> int:
        """Write, in escapes where the stream's encoding lacks a letter."""
        stream = self.stream
        try:
            return stream.write(text)
        except UnicodeEncodeError:
            coding = getattr(stream, "encoding", None) or "ascii"
            return stream.write(text.encode(coding, "backslashreplace").decode(coding))
        except OSError as error:
            return forgive(error, len(text))

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            forgive(error, 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def forgive(error: OSError, count: int) -> int:
    """Let the output that raised an error be lost; `count` counts as written."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # else a file on a full disk: this line is lost, later ones need not be
        write_to_nowhere(*((1, 2) if error.errno == errno.EIO else (1,)))  # EIO: the terminal was closed, for errors too
    return count


def write_to_nowhere(*descriptors: int) -> None:
    """Drop what this process writes there from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
