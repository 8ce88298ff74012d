"""Ends the processes that an engine leaves behind when its actor is gone: a killed actor ends nobody, and a stopped core hears nobody.

    python keeper.py PID MARK      waits for PID to end, then kills every process with GATEWISE_ENGINE=MARK in its environment

It runs beside the actor, as a process of its own that no signal to the actor's children or group reaches. It needs the standard library
only, so it starts at once and is small.
"""

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

MARK = "GATEWISE_ENGINE"
ROUNDS, PAUSE_S = 50, 0.1  # a process may have been about to start another one


def keep_order() -> None:
    """Start the keeper of this process. Children that it has from now on end with it, whatever happens to it."""
    mark = uuid.uuid4().hex
    # It leaves its parent at once, so this returns soon. Its own environment has no mark, as it would end itself.
    subprocess.run([sys.executable, "-I", "-S", __file__, str(os.getpid()), mark], check=True, stdin=subprocess.DEVNULL)
    os.environ[MARK] = mark


def marked(mark: str) -> Iterator[int]:
    """The processes whose environment has the mark."""
    wanted = f"{MARK}={mark}".encode()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        yield int(name)
            except OSError:  # it has ended, or is another user's
                continue


def kill_marked(mark: str) -> None:
    """Kill them until none is left, within a few seconds."""
    for _ in range(ROUNDS):
        left = list(marked(mark))
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(PAUSE_S)
    print(f"processes of an engine that could not be killed: {left}", file=sys.stderr, flush=True)


def wait_for(pid: int) -> None:
    """Return once the process has ended."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.poll()


def main() -> None:
    """Become a process without parent, then wait and kill."""
    if os.fork():
        os._exit(0)
    os.setsid()
    wait_for(int(sys.argv[1]))
    kill_marked(sys.argv[2])


if __name__ == "__main__":
    main()
