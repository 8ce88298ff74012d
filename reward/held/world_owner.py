"""The process of a held world seen from its owner: what it was asked, what it answers, and how long it takes.

Nothing here waits. The template (`reward.held.template_main`) starts and ends the process itself.
"""

import json
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

from reward.held.protocol import MAX_LINE_BYTES, Kind, Step
from reward.processes.output import Output
from reward.processes.own_time import OwnTime


class WorldGone(Exception):
    """The world cannot be used any more; the text is a failure such as "crash: the world was killed by SIGSEGV"."""


class Phase(Enum):
    """What a world is doing."""

    STARTING = auto()  # it is being forked, or has not said STARTED
    ANSWERING = auto()
    WAITING = auto()  # for the model's next turn
    CLOSING = auto()  # it was asked to end, or has ended its episode
    ENDING = auto()  # killed, not yet gone


class World:
    """One process: two descriptors, the line it answers, and its clock."""

    def __init__(self, serial: int, episode: str, on_output: Callable[[bytes], None] | None = None) -> None:
        self.serial, self.episode, self.pid, self.phase = serial, episode, 0, Phase.STARTING
        self.channel, self._theirs = socket.socketpair()
        output, self._their_output = os.pipe2(os.O_CLOEXEC)
        self.channel.setblocking(False)
        os.set_blocking(output, False)
        self.output = Output(output, on_output=on_output)
        self.clock = OwnTime(os.getpid())  # of our own process until the world has one
        self.since = time.monotonic()  # when it came into its phase
        self.look_at = math.inf  # when to check whether it is late
        self.first = True  # whether its next step starts the world
        self.agent = False
        self.closed_at = math.inf  # when its side of the channel was found closed
        self._printed_before = 0
        self._partial = self._unsent = b""

    @property
    def theirs(self) -> Sequence[int]:
        """The descriptors of the world's side, for the template."""
        return self._theirs.fileno(), self._their_output

    @property
    def closed(self) -> bool:
        """Whether its side of the channel is closed, so that no step will come."""
        return self.closed_at < math.inf

    @property
    def printed(self) -> int:
        """Bytes that it printed since its last step."""
        return self.output.printed - self._printed_before

    @property
    def sending(self) -> bool:
        """Whether a part of a line waits for the world to read."""
        return bool(self._unsent)

    def born(self, pid: int) -> None:
        """The template has forked its process."""
        self.clock.close()
        self.pid, self.clock = pid, OwnTime(pid)

    def hand_over(self) -> None:
        """Close our copies of the world's descriptors; else the channel would stay open after its end."""
        self._theirs.close()
        if self._their_output >= 0:
            os.close(self._their_output)
            self._their_output = -1

    def enter(self, phase: Phase, now: float) -> None:
        self.phase, self.since = phase, now

    def ask(self, line: Mapping[str, Any] | str, now: float) -> None:
        """Have it answer a line, given as a mapping or as JSON."""
        self.enter(Phase.ANSWERING, now)
        self.clock.restart(now)
        text = line if isinstance(line, str) else json.dumps(line)
        self._unsent = text.encode() + b"\n"
        self.send()

    def send(self) -> None:
        """Send as much as the socket takes. Where the world is gone, drop it: the template reports the end."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.channel.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""

    def steps(self) -> list[Step]:
        """Its steps since the last call; WorldGone when they cannot be read. Sets `closed` at the end of the channel."""
        while not self.closed:
            try:
                data = self.channel.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:  # reset: it died with a line unread
                data = b""
            if not data:
                self.closed_at = time.monotonic()
            self._partial += data
            if len(self._partial) > MAX_LINE_BYTES:
                raise WorldGone(f"crash: the world sent a line of more than {MAX_LINE_BYTES} bytes")
        *lines, self._partial = self._partial.split(b"\n")
        try:
            steps = [Step.decode(line) for line in lines]
        except ValueError as error:
            raise WorldGone(f"crash: {error}") from error
        for step in steps:
            if (step.kind is Kind.STARTED) != (self.phase is Phase.STARTING) and self.phase in (Phase.STARTING, Phase.WAITING):
                raise WorldGone(f"crash: the world spoke ({step.kind}) without a question")
        self._printed_before = self.output.printed if steps else self._printed_before
        return steps

    def close(self) -> None:
        """Free every descriptor; may be repeated."""
        self.hand_over()
        if self.output.descriptor >= 0:
            self.output.read()  # its last words
            self.channel.close()
            os.close(self.output.descriptor)
            self.clock.close()
            self.output.descriptor = -1  # its number may soon be another file's
