"""What a reward worker does: run checkers on the chunks it is sent, one response after the other.

`reward.workers.template` forks it and says what confines it; `reward.workers.protocol` says what it speaks. It imports neither torch nor
ray nor numpy, so its address space is what the checkers use.
"""

import gc
import json
import math
import os
import resource
import socket
import sys
from numbers import Real
from pathlib import Path

from reward.checker import Score
from reward.checkers import load_checker
from reward.programs.limits import CodeLimits
from reward.workers.protocol import Message, State

MAX_FAILURE_CHARS = 500
KEPT = 0.1  # of the limit: what earlier items may have kept and still not be to blame


def address_space() -> int:
    """Bytes of this process that count against its limit."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def score(checker: Score, item: int, response: str, reference: object) -> Message:
    """Run the checker once; whatever it raises but a MemoryError is a FAILED message."""
    try:
        reward: object = checker(response, reference)
        if not isinstance(reward, Real):
            raise TypeError(f"checker returned {type(reward).__name__}, needed a number")
        if not math.isfinite(reward):
            raise ValueError(f"checker returned {reward!r}, needed a finite number")
        return Message(state=State.SCORED, item=item, reward=float(reward))
    except MemoryError:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: a checker must not end its worker politely
        return failed(item, error)


def failed(item: int, error: BaseException) -> Message:
    return Message(state=State.FAILED, item=item, failure=f"error: {type(error).__name__}: {error}"[:MAX_FAILURE_CHARS])


class Worker:
    """Scores chunks one after the other, keeping the checkers it has loaded."""

    def __init__(self, channel: socket.socket, claims: int, limits: CodeLimits, loaded: dict[str, Score]) -> None:
        self.channel, self.claims, self.limits, self.loaded = channel, claims, limits, loaded
        self.at_start = address_space()

    def send(self, message: Message) -> None:
        self.channel.sendall(message.encode())

    def serve(self) -> None:
        """Score every chunk until the owner closes the channel."""
        self.send(Message(state=State.STARTED))
        for line in self.channel.makefile("rb", buffering=1 << 16):
            for item, (name, response, reference) in enumerate(json.loads(line)):
                if not self.claim():
                    self.send(Message(state=State.DROPPED))
                    break
                try:
                    self.send(self.judge(item, name, response, reference))
                    continue
                except MemoryError:
                    pass  # and let go of what the checker's frames held
                self.send(Message(state=self.whose_memory(), item=item))
                sys.exit("out of memory")

    def whose_memory(self) -> State:
        """Whose fault it is that the address space was full: the last item's when what it has left of it is what there was at the start."""
        gc.collect()
        left, limit = address_space(), resource.getrlimit(resource.RLIMIT_AS)[0]
        return State.FILLED if left - self.at_start < KEPT * limit else State.MEMORY

    def claim(self) -> bool:
        """Whether the next item is ours; the owner may have taken back the rest of the chunk."""
        try:
            return bool(os.eventfd_read(self.claims))
        except BlockingIOError:
            return False

    def judge(self, item: int, name: str, response: str, reference: object) -> Message:
        """The reward of one response, or how its checker failed."""
        if name not in self.loaded:
            self.send(Message(state=State.LOADING, item=item))
            try:
                self.loaded[name] = load_checker(name, self.limits)
            except MemoryError:
                raise
            except (Exception, SystemExit) as error:
                return failed(item, error)
            self.send(Message(state=State.LOADED, item=item))
        return score(self.loaded[name], item, response, reference)
