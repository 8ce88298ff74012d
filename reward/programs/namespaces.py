"""A private view of the machine for the launcher and its programs: no network, and a file tree of libraries only.

The tree is a tmpfs with the libraries bound into it read-only, and two folders on which a fresh tmpfs is mounted for every run: nothing
that a program writes ever reaches a disk. Needs Linux 5.12 and the right to unshare, as root or in a user namespace.
"""

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from reward.processes.prctl import LIBC, checked
from reward.programs.kernel import syscall

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
READ_ONLY, NOSUID, NODEV = 1, 2, 4  # of mount_setattr
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
ROOM = ("/proc", "/mnt", "/sys")  # where the tree is put together; the first that is a folder
INODES = 4096  # files a program may have
CAP_SYS_ADMIN = 21


def unshare(flags: int) -> None:
    """Leave the namespaces that this process shares."""
    checked("unshare", LIBC.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    code = LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    checked(f"mount {source} on {target}", code)


def unmount(target: str) -> None:
    """Unmount a path at once."""
    checked(f"umount {target}", LIBC.umount2(target.encode(), MNT_DETACH))


def make_read_only(path: str, more: int = 0, *, recursive: bool) -> None:
    """Make a mount, or it and all mounts below it, read-only, without changing its other flags."""
    attributes = struct.pack("=4Q", READ_ONLY | NOSUID | more, 0, 0, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    syscall("mount_setattr", AT_FDCWD, path.encode(), AT_RECURSIVE if recursive else 0, buffer, len(attributes))


def is_mighty() -> bool:
    """Whether this process may mount without a user namespace of its own."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")]
    return bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)


def enter(libraries: Sequence[str], folders: Sequence[str]) -> bool:
    """Move this process into namespaces of its own and a tree of the libraries; whether a user namespace was needed.

    OSError where the machine does not allow it; the process cannot be used after that.
    """
    of_user = not is_mighty()
    uid, gid = os.geteuid(), os.getegid()
    unshare(NEW_MOUNTS | NEW_IPC | NEW_NETWORK | (NEW_USER if of_user else 0))
    if of_user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    tree = next(path for path in ROOM if os.path.isdir(path))
    mount("tmpfs", tree, "tmpfs", MS_NOSUID, "size=1m,mode=755")
    for path in (*libraries, *DEVICES):
        _bind(path, tree + path)
    for folder in folders:
        os.makedirs(tree + folder, 0o755, exist_ok=True)
    make_read_only(tree, recursive=False)
    os.chdir(tree)
    syscall("pivot_root", b".", b".")
    unmount(".")
    os.chdir("/")
    return of_user


def _bind(source: str, target: str) -> None:
    if not os.path.exists(source):
        return
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if os.path.islink(source):  # /lib -> usr/lib
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        Path(target).touch()
    mount(source, target, "", MS_BIND | MS_REC)
    make_read_only(target, 0 if source in DEVICES else NODEV, recursive=True)


def mount_folder(path: str, disk_mb: int, uid: int, gid: int) -> None:
    """An empty folder in memory, of a bounded size and number of files, for that user alone."""
    options = f"size={disk_mb}m,nr_inodes={INODES},mode=700,uid={uid},gid={gid}"
    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
