"""The last lines of a process that ends without a word, said by a small process beside it.

Ray ends a driver's process at once where its connection to the raylet's object store breaks, and the kernel does where memory is short.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DONE = "said"
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def last_words(lines: Sequence[str]) -> Iterator[None]:
    """Within: `lines` appear on standard error if this process vanishes. After a block that is left, this process can say why itself."""
    command = [sys.executable, "-m", "cluster.causes.last_words", *lines]
    # In a group of its own: signals for the driver's group must not end it first.
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=ROOT, process_group=0) as beside:
        try:
            yield
        finally:
            beside.communicate(DONE)


def main() -> None:
    """Wait for the other process to say that it is done, or to vanish."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.read() != DONE:
        print(*sys.argv[1:], sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
