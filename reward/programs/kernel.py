"""System calls that Python's standard library has no function for."""

import ctypes

from reward.processes.prctl import LIBC, checked
from reward.programs.syscalls import number

LIBC.syscall.restype = ctypes.c_long

CAPABILITY_VERSION_3 = 0x20080522


def syscall(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Make a system call by its name; OSError says which failed and why."""
    found = number(name)
    assert found is not None, f"{name} does not exist on this machine"
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result: int = LIBC.syscall(ctypes.c_long(found), *words)
    return checked(name, result)


def drop_capabilities() -> None:
    """Give up every capability, whatever the user id."""
    header = CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    syscall("capset", ctypes.create_string_buffer(header), ctypes.create_string_buffer(24))
