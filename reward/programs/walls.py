"""The walls around a program: which of them this machine has, and closing them around a process.

Always: another user where we are root, no capability, no new privilege, resource limits, a list of allowed system calls. In addition
Landlock, or a file tree and network of its own, or both. A machine that has neither, or cannot filter system calls, is refused.
"""

import os
import resource
import signal
import sys
import sysconfig
from dataclasses import dataclass

from reward.processes.children import succeeds_in_child
from reward.processes.prctl import die_with, forbid_new_privileges, hide_memory
from reward.programs import kernel, landlock, namespaces, seccomp

NOBODY = 65534
OWN_USERS = 1_900_000_000  # far above the ids of real users
FOLDERS = {"program": "/tmp", "tester": "/test"}  # in a tree of our own, where each kind of process may write
OPEN_FILES, THREADS = 64, 1024  # threads of all programs of the user together
STACK = 64 << 20
READABLE = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
PARTS = ("landlock", "namespaces", "seccomp", "user")


class Unconfined(ValueError):
    """This machine cannot confine a program; the text says what is missing and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one process."""

    memory_mb: int
    cpu_s: int
    disk_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """The walls between a program and the machine."""

    unsafe: bool = False
    landlock: int = 0  # its ABI version; 0: none
    tree: bool = False  # it gets namespaces and a file tree of its own
    counted: bool = False  # the kernel counts its threads apart from ours, so that they can be limited
    user: int | None = None  # the user id that it takes; None: ours
    readable: tuple[int, ...] = ()  # descriptors of the folders and files that it may read
    devices: tuple[int, ...] = ()

    def describe(self) -> str:
        """The walls in one line of text."""
        if self.unsafe:
            return "none: programs run with your rights (code.sandbox = 'unsafe')"
        files = f"Landlock ABI {self.landlock}" if self.landlock else "no Landlock, a file tree of its own instead"
        spaces = "own mount, network and IPC namespaces" if self.tree else "no namespaces"
        user = f"user {self.user}" if self.user is not None else f"user {os.getuid()} without capabilities"
        return f"{files}, system calls filtered, {spaces}, {user}"

    def close(self, folder: str, limits: Limits, owner: int) -> None:
        """Close the walls around this process, a fork of the launcher, for good; OSError where one of them cannot be closed.

        folder: the only place where it may write. owner: the process that it dies with.
        """
        if not self.unsafe:
            forbid_new_privileges()
            if self.landlock:
                self._restrict_files(folder)
        os.chdir(folder)
        set_limits(limits, threads=self.counted)
        if self.user is not None:
            os.setgroups([])
            os.setresgid(self.user, self.user, self.user)
            os.setresuid(self.user, self.user, self.user)
        die_with(owner, signal.SIGKILL)  # after the change of user, which would clear it
        if not self.unsafe:
            kernel.drop_capabilities()
            hide_memory()

    def filter_calls(self) -> None:
        """Close the last wall: from now on only the system calls that Python itself needs are allowed."""
        if not self.unsafe:
            seccomp.restrict(os.getpid())

    def _restrict_files(self, folder: str) -> None:
        ruleset = landlock.new_ruleset(self.landlock)
        for descriptor in self.readable:
            landlock.allow(ruleset, descriptor, rights_to_read(descriptor), self.landlock)
        for descriptor in self.devices:
            landlock.allow(ruleset, descriptor, landlock.DEVICE, self.landlock)
        own = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        landlock.allow(ruleset, own, landlock.OWN_FOLDER, self.landlock)
        landlock.restrict(ruleset)
        os.close(own)
        os.close(ruleset)


def rights_to_read(descriptor: int) -> int:
    """Only a folder has files to list."""
    is_folder = os.fstat(descriptor).st_mode & 0o170000 == 0o040000  # noqa: PLR2004
    return landlock.READ if is_folder else landlock.READ_FILE


def set_limits(limits: Limits, *, threads: bool) -> None:
    """Limit the resources of this process; an inherited limit that is lower stays."""
    memory, disk = limits.memory_mb << 20, limits.disk_mb << 20
    bounds = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_CPU: most_cpu(limits.cpu_s),
        resource.RLIMIT_FSIZE: disk,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_STACK: STACK,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if threads:
        bounds[resource.RLIMIT_NPROC] = THREADS
    for what, bound in bounds.items():
        hard = resource.getrlimit(what)[1]
        size = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        # a second before the kernel's SIGKILL comes SIGXCPU, which says why
        resource.setrlimit(what, (size - 1 if what == resource.RLIMIT_CPU and size > 1 else size, size))


def most_cpu(seconds: int) -> int:
    """The CPU time after which the kernel sends SIGKILL to a program that has so many seconds and ignores SIGXCPU."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    return seconds + 1 if hard == resource.RLIM_INFINITY else min(seconds + 1, hard)


def libraries() -> list[str]:
    """The paths that Python and its extension modules read, none of them below another."""
    stdlib = sysconfig.get_path("stdlib")
    wanted = [*READABLE, stdlib, os.path.join(sys.base_prefix, "lib")]
    paths = {path for given in wanted for path in (given, os.path.realpath(given)) if os.path.exists(path)}
    real = {path for path in paths if not os.path.islink(path)}
    return sorted(path for path in paths if not any(path.startswith(other + "/") for other in real))


def build(*, unsafe: bool, without: frozenset[str]) -> Walls:
    """Find the walls of this machine and set up those that all programs share; this process then sees only libraries.

    without: walls to leave out as if the machine lacked them. Unconfined where the rest would not confine a program.
    """
    if unsafe:
        return Walls(unsafe=True)
    paths = libraries()
    version = 0 if "landlock" in without else landlock.abi()
    filters = "seccomp" not in without and seccomp.available()
    enter = lambda: namespaces.enter(paths, list(FOLDERS.values()))  # noqa: E731
    tree = "namespaces" not in without and filters and succeeds_in_child(enter)
    if not filters:
        raise refusal("its kernel does not filter system calls (seccomp), or its processor is neither x86_64 nor aarch64")
    if not version and not tree:
        raise refusal("it has neither Landlock (Linux 5.13) nor the right to make namespaces")
    seccomp.template()
    of_user = enter() if tree else False
    user = None if os.geteuid() != 0 or of_user or "user" in without else found_user()
    return Walls(
        landlock=version,
        tree=tree,
        counted=user is not None or of_user,
        user=user,
        readable=held(paths) if version else (),
        devices=held(namespaces.DEVICES) if version else (),
    )


def refusal(missing: str) -> Unconfined:
    return Unconfined(
        f"this machine cannot confine programs: {missing}. Use a newer kernel or a container that allows it, or set "
        'code.sandbox = "unsafe" if you trust every program that will run with your rights'
    )


def held(paths: tuple[str, ...] | list[str]) -> tuple[int, ...]:
    """Descriptors of the paths that exist."""
    return tuple(os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths if os.path.exists(path))


def found_user() -> int | None:
    """A user id without rights for programs: the launcher's own, so that programs of others cannot use up its threads."""
    users = (OWN_USERS + os.getpid(), NOBODY)
    return next((user for user in users if succeeds_in_child(lambda user=user: become(user))), None)  # type: ignore[misc]


def become(user: int) -> None:
    """Become that user and read the standard library, which that user may not be allowed to: it may lie in a private home."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    with open(os.__file__, "rb") as file:
        file.read(1)
