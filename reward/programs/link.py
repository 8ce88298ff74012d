"""A connection between a program and the tester that uses its objects: each side asks, and answers while it waits.

A request is `{"do": "call", ...}`, an answer `{"ok": value}` or `{"error": {...}}`. Whoever waits for an answer may get a request first:
the program asks when it calls a function that a test gave to it. A message is JSON behind its length.
"""

import json
import socket
import struct
from collections.abc import Callable

from reward.programs.values import Json

LONGEST = 64 << 20  # bytes of one message
HEADER = struct.Struct("=I")


class Gone(BaseException):
    """The other process has ended or sends no messages; a BaseException, so that no test catches it as an ordinary error."""


class Link:
    """One end: `ask` sends a message and returns the answer; requests of the other end are carried out meanwhile."""

    def __init__(self, channel: int, obey: Callable[[Json], Json]) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=channel)
        self.obey = obey

    def send(self, message: Json) -> None:
        data = json.dumps(message).encode()
        try:
            self.socket.sendall(HEADER.pack(len(data)) + data)
        except OSError as error:
            raise Gone(f"the program has ended: {error}") from None

    def receive(self) -> Json:
        """The next message; Gone where none comes, or the data is not a message."""
        (size,) = HEADER.unpack(self._read(HEADER.size))
        if size > LONGEST:
            raise Gone(f"a message of {size} bytes, allowed are {LONGEST}")
        try:
            message = json.loads(self._read(size))
        except (ValueError, RecursionError) as error:
            raise Gone(f"not a message: {error}") from None
        if not isinstance(message, dict):
            raise Gone("not a message")
        return message

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise Gone("the program has ended")
            data += part
        return bytes(data)

    def ask(self, message: Json) -> Json:
        self.send(message)
        while "do" in (answer := self.receive()):
            self.send(self.obey(answer))
        return answer

    def serve(self) -> None:
        """Carry out requests until the other end closes."""
        while True:
            try:
                order = self.receive()
            except Gone:
                return
            self.send(self.obey(order))
