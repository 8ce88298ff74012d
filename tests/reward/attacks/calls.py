"""System calls that no program may make, each tried through ctypes: number on x86_64 and on aarch64, arguments.

`parent` is the launcher's process id, `secret` a file outside, `buffer` some zeros. Every one must be refused before the kernel looks at
its arguments: "operation not permitted", or "not implemented" where the C library then tries another way.
"""

CALLS: dict[str, tuple[int, int | None, str]] = {
    "fork": (57, None, ""),
    "vfork": (58, None, ""),
    "clone": (56, 220, "17, 0, 0, 0, 0"),
    "clone3": (435, 435, "buffer, 88"),
    "execve": (59, 221, 'b"/bin/true", 0, 0'),
    "execveat": (322, 281, '-100, b"/bin/true", 0, 0, 0'),
    "ptrace": (101, 117, "16, parent, 0, 0"),
    "process_vm_readv": (310, 270, "parent, buffer, 1, buffer, 1, 0"),
    "process_vm_writev": (311, 271, "parent, buffer, 1, buffer, 1, 0"),
    "kcmp": (312, 272, "parent, parent, 0, 0, 0"),
    "process_madvise": (440, 440, "0, buffer, 1, 0, 0"),
    "kill": (62, 129, "parent, 0"),
    "tkill": (200, 130, "parent, 0"),
    "tgkill": (234, 131, "parent, parent, 0"),
    "rt_sigqueueinfo": (129, 138, "parent, 0, buffer"),
    "rt_tgsigqueueinfo": (297, 240, "parent, parent, 0, buffer"),
    "pidfd_open": (434, 434, "parent, 0"),
    "pidfd_send_signal": (424, 424, "0, 0, 0, 0"),
    "pidfd_getfd": (438, 438, "0, 0, 0"),
    "prlimit64": (302, 261, "parent, 7, buffer, 0"),
    "setpriority": (141, 140, "0, parent, 19"),
    "sched_setaffinity": (203, 122, "parent, 8, buffer"),
    "sched_setscheduler": (144, 119, "parent, 0, buffer"),
    "sched_setattr": (314, 274, "parent, buffer, 0"),
    "ioprio_set": (251, 30, "1, parent, 0"),
    "setsid": (112, 157, ""),
    "setpgid": (109, 154, "0, 0"),
    "setuid": (105, 146, "0"),
    "setgid": (106, 144, "0"),
    "setresuid": (117, 147, "0, 0, 0"),
    "setgroups": (116, 159, "0, 0"),
    "setfsuid": (122, 151, "0"),
    "capset": (126, 91, "buffer, buffer"),
    "personality": (135, 92, "0x40000"),
    "socket": (41, 198, "2, 1, 0"),
    "bind": (49, 200, "0, buffer, 16"),
    "connect": (42, 203, "0, buffer, 16"),
    "listen": (50, 201, "0, 1"),
    "accept": (43, 202, "0, 0, 0"),
    "sendmsg": (46, 211, "0, buffer, 0"),
    "recvmsg": (47, 212, "0, buffer, 0"),
    "setsockopt": (54, 208, "0, 1, 2, buffer, 4"),
    "memfd_create": (319, 279, 'b"x", 0'),
    "memfd_secret": (447, 447, "0"),
    "shmget": (29, 194, "0, 4096, 0o1600"),
    "shmat": (30, 196, "0, 0, 0"),
    "msgget": (68, 186, "0, 0o1600"),
    "semget": (64, 190, "0, 1, 0o1600"),
    "mq_open": (240, 180, 'b"/attack", 0o102, 0o600, 0'),
    "io_uring_setup": (425, 425, "8, buffer"),
    "io_uring_enter": (426, 426, "0, 1, 1, 0, 0, 0"),
    "io_setup": (206, 0, "1, buffer"),
    "userfaultfd": (323, 282, "0"),
    "bpf": (321, 280, "0, buffer, 64"),
    "perf_event_open": (298, 241, "buffer, 0, -1, -1, 0"),
    "keyctl": (250, 219, "0, -3, 1"),
    "add_key": (248, 217, 'b"user", b"attack", b"x", 1, -3'),
    "request_key": (249, 218, 'b"user", b"attack", 0, -3'),
    "mount": (165, 40, 'b"none", b"/tmp", b"tmpfs", 0, 0'),
    "umount2": (166, 39, 'b"/tmp", 2'),
    "pivot_root": (155, 41, 'b".", b"."'),
    "chroot": (161, 51, 'b"/tmp"'),
    "unshare": (272, 97, "0x10000000"),
    "setns": (308, 268, "0, 0"),
    "fsopen": (430, 430, 'b"tmpfs", 0'),
    "open_tree": (428, 428, '-100, b"/", 1'),
    "move_mount": (429, 429, '0, b"", -100, b"/", 0'),
    "mount_setattr": (442, 442, '-100, b"/", 0, buffer, 32'),
    "seccomp": (317, 277, "0, 0, 0"),
    "landlock_create_ruleset": (444, 444, "buffer, 8, 0"),
    "prctl": (157, 167, "1, 0, 0, 0, 0"),
    "ioctl": (16, 29, "0, 0x5412, buffer"),
    "fcntl": (72, 25, "0, 8, parent"),
    "fchmodat": (268, 53, "-100, secret, 0o777"),
    "fchmod": (91, 52, "0, 0o777"),
    "fchownat": (260, 54, "-100, secret, 0, 0, 0"),
    "utimensat": (280, 88, "-100, secret, 0, 0"),
    "setxattr": (188, 5, 'secret, b"user.attack", b"x", 1, 0'),
    "linkat": (265, 37, '-100, secret, -100, b"link", 0'),
    "symlinkat": (266, 36, 'b"/", -100, b"link"'),
    "mknodat": (259, 33, '-100, b"fifo", 0o10600, 0'),
    "truncate": (76, 45, "secret, 0"),
    "fallocate": (285, 47, "1, 0, 0, 4096"),
    "openat2": (437, 437, "-100, secret, buffer, 24"),
    "name_to_handle_at": (303, None, "-100, secret, buffer, buffer, 0"),
    "open_by_handle_at": (304, None, "-100, buffer, 0"),
    "fanotify_init": (300, 262, "0, 0"),
    "inotify_init1": (294, 26, "0"),
    "vmsplice": (278, 75, "1, buffer, 0, 0"),
    "eventfd2": (290, 19, "0, 0"),
    "signalfd4": (289, 74, "-1, buffer, 8, 0"),
    "timer_create": (222, 107, "0, buffer, buffer"),
    "mlockall": (151, 230, "1"),
    "reboot": (169, 142, "0, 0, 0, 0"),
    "swapon": (167, 224, 'b"/tmp/x", 0'),
    "init_module": (175, 105, "0, 0, 0"),
    "kexec_load": (246, 104, "0, 0, 0, 0"),
    "sethostname": (170, 161, 'b"attack", 6'),
    "settimeofday": (164, 170, "buffer, 0"),
    "clock_settime": (227, 112, "0, buffer"),
    "adjtimex": (159, 171, "buffer"),
    "syslog": (103, 116, "2, buffer, 16"),
    "acct": (163, 89, "0"),
    "quotactl": (179, 60, "0, 0, 0, 0"),
    "vhangup": (153, 58, ""),
    "sync": (162, 81, ""),
    "setrlimit": (160, 164, "7, buffer"),
}

PROGRAM = """
import ctypes, os, platform
number = {"x86_64": %r, "aarch64": %r}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
parent, secret, buffer = os.getppid(), SECRET.encode(), ctypes.create_string_buffer(4096)
if number is not None:
    arguments = [a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in (%s)]
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result != -1 or ctypes.get_errno() not in (1, 38):
        escaped(f"system call {number} gave {result}, error {ctypes.get_errno()}")
print("tried")
"""

PROGRAMS = {
    f"system call {name}": PROGRAM % (x86, arm, f"{arguments}," if arguments else "") for name, (x86, arm, arguments) in CALLS.items()
}
