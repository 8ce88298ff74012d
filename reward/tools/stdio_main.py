"""Runs the command of an MCP server so that neither it nor what it starts survives the process that uses it.

Started by `reward.tools.mcp_transport` with the owner's process id and the command, which inherits stdin and stdout.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from reward.processes.prctl import adopt_orphans, die_with

NOT_FOUND = 127  # as shells have it


class Ended(Exception):
    """The owner has ended, or asks this process to."""


def end(*_: object) -> NoReturn:
    raise Ended


def main(arguments: list[str]) -> NoReturn:
    """Run the command until it ends or the owner does; then everything that it has started is killed."""
    owner, *command = arguments
    signal.signal(signal.SIGTERM, end)
    status = 1
    try:
        die_with(int(owner), signal.SIGTERM)
        adopt_orphans()
        me = os.getpid()
        status = subprocess.Popen(command, preexec_fn=lambda: die_with(me, signal.SIGKILL)).wait()
    except FileNotFoundError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        status = NOT_FOUND
    except Ended:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    finally:
        kill_descendants()
    os._exit(status & 0xFF)


def kill_descendants() -> None:
    """Kill every child; theirs become children of this process and are killed too."""
    me = os.getpid()
    while children := Path(f"/proc/{me}/task/{me}/children").read_text().split():
        for pid in map(int, children):
            os.kill(pid, signal.SIGKILL)  # a child that has ended stays until it is reaped here
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
