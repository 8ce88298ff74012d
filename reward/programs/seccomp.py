"""The list of system calls that a program may make; the kernel refuses every other with "operation not permitted".

CPython and its standard library need these calls to compute and to use files. A program can start no process and signal no other one. It
opens no socket, except a connected pair, by which asyncio wakes itself. It changes no file's owner, mode or time. It cannot make the kernel
send it SIGKILL, except by exceeding its CPU time: every other SIGKILL comes from outside.

seccomp(2); the filter is classic BPF over `struct seccomp_data`.
"""

import ctypes
import functools
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from reward.programs.kernel import syscall
from reward.programs.syscalls import LOOKED_AT, MACHINES, PLAIN, number

SET_MODE_FILTER, GET_ACTION_AVAIL = 1, 2
TSYNC = 1  # every thread of the process
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38
LOAD, AND, EQUAL, AT_LEAST, JUMP, RETURN = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06
NR_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000  # system calls of the 32-bit ABI, which have other numbers
WORD = 0xFFFFFFFF
ANY_PID = 0x7FEDCBA9  # no process has so large an id

CLONE_THREAD, CLONE_PTRACE, CLONE_VFORK = 0x00010000, 0x00002000, 0x00004000
CLONE_NEW = 0x7E020000  # every namespace
READ_AND_TRUNCATE, ACCESS_AND_TRUNCATE = 0o1000, 0o1003  # Landlock before ABI 3 lets it pass
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034)  # not F_SETOWN and F_SETSIG: they send signals to anyone
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, how much is there, blocking or not, close on exec
PRCTL = (15, 16)  # a thread's name
RLIMIT_CPU = 0
SIGNALS = (9, 19)  # SIGKILL, SIGSTOP
AF_UNIX, SOCK_STREAM, SOCK_KIND = 1, 1, 0xF  # a datagram socket could be sent to other names


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A condition on one argument: its low 32 bits, masked, are one of the values, or none of them."""

    argument: int
    values: tuple[int, ...]
    mask: int = WORD
    among: bool = True

    def code(self) -> list[bytes]:
        """Instructions that continue where the condition holds, and refuse the call elsewhere."""
        size = len(self.values)
        found = [step(EQUAL, value, size - place, 0) for place, value in enumerate(self.values)]
        leave = [refuse(EPERM)] if self.among else [step(JUMP, 1), refuse(EPERM)]
        return [step(LOAD, ARGUMENTS_AT + 8 * self.argument), step(AND, self.mask), *found, *leave]


def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def refuse(error: int) -> bytes:
    return step(RETURN, ERRNO | error)


def conditions(pid: int) -> dict[str, list[Test]]:
    """Conditions on the arguments of the calls that are allowed only in some uses."""
    myself = (pid,)
    no_trick = Test(argument=1, mask=ACCESS_AND_TRUNCATE, values=(READ_AND_TRUNCATE,), among=False)
    return {
        "clone": [Test(argument=0, mask=CLONE_THREAD | CLONE_PTRACE | CLONE_VFORK | CLONE_NEW, values=(CLONE_THREAD,))],
        "open": [no_trick],
        "openat": [Test(argument=2, mask=no_trick.mask, values=no_trick.values, among=False)],
        "kill": [Test(argument=0, values=myself), Test(argument=1, values=SIGNALS, among=False)],
        "tgkill": [Test(argument=0, values=myself), Test(argument=2, values=SIGNALS, among=False)],
        "prlimit64": [Test(argument=0, values=(0, *myself))],
        "fcntl": [Test(argument=1, values=FCNTL)],
        "ioctl": [Test(argument=1, values=IOCTL)],
        "prctl": [Test(argument=0, values=PRCTL)],
        "socketpair": [Test(argument=0, values=(AF_UNIX,)), Test(argument=1, mask=SOCK_KIND, values=(SOCK_STREAM,))],
    }


def instructions(pid: int) -> Iterator[bytes]:
    """The filter for the process of that id."""
    machine = platform.machine()
    yield from (step(LOAD, ARCH_AT), step(EQUAL, ARCHITECTURES[machine], 1, 0), step(RETURN, KILL_PROCESS), step(LOAD, NR_AT))
    if machine == "x86_64":
        yield from (step(AT_LEAST, X32_BIT, 0, 1), refuse(EPERM))
    for name in PLAIN:
        if (found := number(name)) is not None:
            yield from (step(EQUAL, found, 0, 1), step(RETURN, ALLOW))
    tests = conditions(pid)
    for name in LOOKED_AT:
        if (found := number(name)) is None:
            continue
        # without clone3 the C library uses clone, whose flags a filter can read
        block = [code for test in tests[name] for code in test.code()] + [step(RETURN, ALLOW)] if name in tests else [refuse(ENOSYS)]
        if name == "prlimit64":
            block[-1:] = keep_cpu_limit()
        yield from (step(EQUAL, found, 0, len(block)), *block)
    yield refuse(EPERM)


def keep_cpu_limit() -> list[bytes]:
    """Instructions that let prlimit64 pass, unless it sets the limit of CPU time: that seems to succeed and changes nothing.

    Some right programs limit themselves, and a limit of 0 would end them by SIGKILL at once.
    """
    new_limit = ARGUMENTS_AT + 8 * 2  # a pointer, in two words: null where the limit is only read
    allow = step(RETURN, ALLOW)
    return [
        *(step(LOAD, ARGUMENTS_AT + 8), step(EQUAL, RLIMIT_CPU, 0, 4)),
        *(step(LOAD, new_limit), step(EQUAL, 0, 0, 3), step(LOAD, new_limit + 4), step(EQUAL, 0, 0, 1)),
        *(allow, refuse(0)),
    ]


def available() -> bool:
    """Whether this kernel filters system calls, on a machine in MACHINES."""
    if platform.machine() not in MACHINES:
        return False
    try:
        syscall("seccomp", GET_ACTION_AVAIL, 0, ctypes.create_string_buffer(struct.pack("=I", ERRNO), 4))
    except OSError:
        return False
    return True


@functools.cache
def template() -> bytes:
    """The filter with ANY_PID in place of the process id; made once, in the launcher."""
    return b"".join(instructions(ANY_PID))


def restrict(pid: int) -> None:
    """Restrict this process, which has that id, for good."""
    code = template().replace(ANY_PID.to_bytes(4, sys.byteorder), pid.to_bytes(4, sys.byteorder))
    held = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(held)))
    syscall("seccomp", SET_MODE_FILTER, TSYNC, program)
