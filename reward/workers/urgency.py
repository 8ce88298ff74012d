"""How urgent a worker is to the system's scheduler: one with a slow item, or with none yet, must not slow down the workers that score."""

import os

from reward.processes.children import succeeds_in_child

LOWEST = 19


def lower(pid: int) -> None:
    """Give a process group only the time that no other process wants, on a quarter of the cores.

    Other cores go idle first; an idle core steals waiting work at once, a busy one looks only every few milliseconds.
    """
    os.setpriority(os.PRIO_PGRP, pid, LOWEST)
    take_time(os.SCHED_IDLE, pid)
    cores = sorted(os.sched_getaffinity(os.getpid()))
    os.sched_setaffinity(pid, cores[-max(1, len(cores) // 4) :])


def restore(pid: int) -> None:
    """Undo `lower`: give a process group all our cores and our priority; PermissionError where the system does not allow it."""
    os.sched_setaffinity(pid, os.sched_getaffinity(os.getpid()))
    take_time(os.SCHED_OTHER, pid)
    os.setpriority(os.PRIO_PGRP, pid, os.getpriority(os.PRIO_PROCESS, 0))


def can_be_polite() -> bool:
    """Whether a process that took only idle time may undo that; most systems reserve it to the privileged."""

    def take_and_undo() -> None:
        take_time(os.SCHED_IDLE)
        take_time(os.SCHED_OTHER)

    return succeeds_in_child(take_and_undo)


def take_time(policy: int, pid: int = 0) -> None:
    """Let a process have only the time that no other process wants (SCHED_IDLE) or a usual share (SCHED_OTHER)."""
    os.sched_setscheduler(pid, policy, os.sched_param(0))
