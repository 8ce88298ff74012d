"""A program's rights to files, as a Landlock ruleset of the kernel.

Reading below some paths, reading and writing below one folder, nothing elsewhere; no TCP port (ABI 4), no control of devices (5), no
signal and no abstract socket to the outside (6). A kernel with an older ABI enforces what it knows.

Landlock does not guard metadata: names, sizes and times can be read everywhere; `reward.programs.seccomp` refuses to change them.
"""

import ctypes
import struct

from reward.programs.kernel import syscall

VERSION = 1
PATH_BENEATH = 1
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 7, 1 << 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST = (1 << 13) - 1  # rights of ABI 1
BIND_AND_CONNECT_TCP = 3
ABSTRACT_SOCKETS_AND_SIGNALS = 3

READ = READ_FILE | READ_DIR
DEVICE = READ_FILE | WRITE_FILE | TRUNCATE
OWN_FOLDER = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE


def abi() -> int:
    """Which version of Landlock this kernel enforces; 0 for none."""
    try:
        return syscall("landlock_create_ruleset", 0, 0, VERSION)
    except OSError:
        return 0


def handled(version: int) -> int:
    """All rights to files that an ABI version can deny."""
    return FIRST | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0) | (IOCTL_DEV if version >= 5 else 0)  # noqa: PLR2004


def new_ruleset(version: int) -> int:
    """A descriptor of a ruleset that allows nothing."""
    words = [handled(version)]
    if version >= 4:  # noqa: PLR2004
        words.append(BIND_AND_CONNECT_TCP)
    if version >= 6:  # noqa: PLR2004
        words.append(ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(words)}Q", *words)
    return syscall("landlock_create_ruleset", ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0)


def allow(ruleset: int, descriptor: int, rights: int, version: int) -> None:
    """Grant rights to the file, or below the folder, of a descriptor."""
    rule = struct.pack("=Qi", rights & handled(version), descriptor)
    syscall("landlock_add_rule", ruleset, PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)


def restrict(ruleset: int) -> None:
    """Restrict this thread and all it starts, for good; needs no_new_privs."""
    syscall("landlock_restrict_self", ruleset, 0)
