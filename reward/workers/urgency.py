"""How urgent a worker is to the system's scheduler: one with a slow item, or none yet, must not cost those that score their time."""

import os

LOWEST = 19


def lower(pid: int) -> None:
    """Give a process group only the time that nobody else wants, on a quarter of the cores.

    The others fall idle, and a core that does takes over at once what waits for another; one that has any work looks around only
    every few milliseconds.
    """
    os.setpriority(os.PRIO_PGRP, pid, LOWEST)
    take_time(os.SCHED_IDLE, pid)
    cores = sorted(os.sched_getaffinity(os.getpid()))
    os.sched_setaffinity(pid, cores[-max(1, len(cores) // 4) :])


def can_be_polite() -> bool:
    """Whether a process that took only idle time may undo that: most systems keep it for the privileged. A child tries."""
    pid = os.fork()
    if pid == 0:
        try:
            take_time(os.SCHED_IDLE)
            take_time(os.SCHED_OTHER)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def take_time(policy: int, pid: int = 0) -> None:
    """Let a process have the time that nobody else wants (SCHED_IDLE) or a share like everyone's (SCHED_OTHER)."""
    os.sched_setscheduler(pid, policy, os.sched_param(0))
