"""The number game as an environment, and environments that break, for `benchmarks.episodes`."""

import os
import signal
import time
from collections.abc import Generator

from gatewise import Words


def guess(said: str, secret: int) -> Generator[str, str, float]:
    """Higher or lower, up to twenty turns."""
    for left in range(19, -1, -1):
        number = int(said)
        if number == secret:
            return 1.0
        if left:
            said = yield f"{'higher' if number < secret else 'lower'}, {left} left"
    return 0.0


def breaks(said: str, how: str) -> Generator[str | Words, str, float]:
    """Breaks in its second turn."""
    yield Words("first", reward=0.1)
    if how == "raises":
        raise ValueError("of mine")
    if how == "hangs":
        time.sleep(60)
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    yield "second"
    return 0.0


def echo(said: str, reference: object) -> Generator[str, str, float]:
    """Says what it heard, without end."""
    while True:
        said = yield f"heard {said}"
