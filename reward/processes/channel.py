"""A socket between a process and the child it starts: one JSON value a packet, and descriptors beside it."""

import json
import socket
from collections.abc import Sequence
from typing import Any, Self

MAX_BYTES = 1 << 16


class Channel:
    """One end. Packets arrive whole or not at all (SOCK_SEQPACKET), so a message needs no length and no end mark."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Our end, and the end for the child."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """The child's end; programs that the child starts do not inherit it."""
        end = socket.socket(fileno=descriptor)
        end.set_inheritable(False)
        return cls(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        return self.fileno() == -1

    def wait_at_most(self, seconds: float) -> None:
        """Give every later call so long; 0: a call that would wait raises BlockingIOError."""
        self._socket.settimeout(seconds)

    def send(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Send one message; OSError where the other end is closed or its buffer is full for too long."""
        data = json.dumps(message).encode()
        if descriptors:
            socket.send_fds(self._socket, [data], descriptors)
        else:
            self._socket.send(data)

    def receive(self, most_descriptors: int = 0) -> tuple[Any, list[int]] | None:
        """The next message with its descriptors; None when the other end is closed and everything was read."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, MAX_BYTES, most_descriptors)
        return (json.loads(data), descriptors) if data else None

    def close(self) -> None:
        """Close this end; may be repeated."""
        self._socket.close()
