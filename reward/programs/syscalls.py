"""Numbers of the system calls that the sandbox names, on the machines it supports.

From Linux's asm/unistd_64.h for x86_64 and asm-generic/unistd.h for aarch64. None: that machine has no such call.
"""

import platform

MACHINES = ("x86_64", "aarch64")

PLAIN: dict[str, tuple[int, int | None]] = {  # what Python and its standard library need, whatever the arguments
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, None), "lstat": (6, None),
    "statx": (332, 291), "poll": (7, None), "ppoll": (271, 73), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "preadv": (295, 69), "pwritev": (296, 70), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "pipe": (22, None), "pipe2": (293, 59), "select": (23, None), "pselect6": (270, 72),
    "sched_yield": (24, 124), "mremap": (25, 216), "msync": (26, 227), "mincore": (27, 232), "madvise": (28, 233), "dup": (32, 23),
    "dup2": (33, None), "dup3": (292, 24), "pause": (34, None), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getitimer": (36, 102), "setitimer": (38, 103), "alarm": (37, None), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173),
    "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158), "exit": (60, 93),
    "exit_group": (231, 94), "uname": (63, 160), "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83), "ftruncate": (77, 46),
    "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "rename": (82, None),
    "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "creat": (85, None),
    "unlink": (87, None), "unlinkat": (263, 35), "readlink": (89, None), "readlinkat": (267, 78), "umask": (95, 166),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "statfs": (137, 43), "fstatfs": (138, 44),
    "getrandom": (318, 278), "set_robust_list": (273, 99), "futex": (202, 98), "set_tid_address": (218, 96), "sigaltstack": (131, 132),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22), "restart_syscall": (219, 128),
    "copy_file_range": (326, 285), "sendfile": (40, 71), "rseq": (334, 293), "getcpu": (309, 168), "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121), "sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "close_range": (436, 436), "fadvise64": (221, 223), "sendto": (44, 206), "recvfrom": (45, 207),
    "getsockname": (51, 204),
}  # fmt: skip
LOOKED_AT: dict[str, tuple[int, int | None]] = {  # allowed or refused by their arguments
    "clone": (56, 220), "clone3": (435, 435), "openat2": (437, 437), "open": (2, None), "openat": (257, 56), "kill": (62, 129),
    "tgkill": (234, 131), "prlimit64": (302, 261), "fcntl": (72, 25), "ioctl": (16, 29), "prctl": (157, 167), "socketpair": (53, 199),
}  # fmt: skip
OUR_OWN: dict[str, tuple[int, int | None]] = {  # what the sandbox itself calls before it closes
    "seccomp": (317, 277), "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445), "landlock_restrict_self": (446, 446),
    "pivot_root": (155, 41), "mount_setattr": (442, 442), "capset": (126, 91),
}  # fmt: skip


def number(name: str) -> int | None:
    """The number of a call on this machine, None where there is none; KeyError for a call or machine not listed here."""
    column = {machine: place for place, machine in enumerate(MACHINES)}[platform.machine()]
    return (PLAIN | LOOKED_AT | OUR_OWN)[name][column]
