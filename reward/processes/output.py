"""What a process prints: how much it was, and the end of it for people."""

from collections.abc import Callable

from reward.processes.descriptors import read_now

TAIL_BYTES = 4096


class Output:
    """The reading end of a pipe that does not block. It keeps the last `most` bytes, or all of them where most is None.

    on_output is called with whatever is read.
    """

    def __init__(self, descriptor: int, most: int | None = TAIL_BYTES, on_output: Callable[[bytes], None] | None = None) -> None:
        self.descriptor, self.most, self._on_output = descriptor, most, on_output
        self.data = bytearray()
        self.printed = 0  # bytes, until now

    def read(self) -> bytes | None:
        """Keep the next bytes and return them; b"" at the end, None where nothing has come yet."""
        data = read_now(self.descriptor)
        if data:
            self.printed += len(data)
            self.data += data
            if self._on_output is not None:
                self._on_output(data)
            if self.most is not None:
                del self.data[: -self.most]
        return data

    @property
    def tail(self) -> str:
        """The end of what was printed, as text without white space around it."""
        return self.data[-TAIL_BYTES:].decode(errors="replace").strip()
