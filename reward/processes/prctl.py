"""What a process asks of the kernel for itself, by prctl(2), which Python's standard library does not call."""

import ctypes
import os
import signal

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38


class ParentEndedError(OSError):
    """The parent ended before the kernel knew that this process must end with it."""


def die_with(parent: int, how: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends; ParentEndedError when the parent has ended already.

    A change of user id clears the request, and the kernel takes the end of the *thread* that forked this process for the parent's end.
    """
    prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        raise ParentEndedError(f"process {parent}, which started this one, has ended")


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (a "child subreaper")."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Let no program that this process starts gain rights by its set-user-id bit; Landlock and seccomp need this."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def hide_memory() -> None:
    """Write no core file, and refuse ptrace and /proc/PID/mem to other processes of the same user."""
    prctl(PR_SET_DUMPABLE, 0)


def prctl(option: int, value: int) -> None:
    """Set a property of this process; OSError where the kernel refuses."""
    zero = ctypes.c_ulong(0)
    checked(f"prctl({option})", LIBC.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def checked(what: str, result: int) -> int:
    """The result of a C function; OSError where it is -1."""
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result
