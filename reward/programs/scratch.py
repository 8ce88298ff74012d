"""Folders on disk for programs, where the machine allows them no folder in memory: private, measured, and removed."""

import contextlib
import os
import tempfile
from pathlib import Path

PREFIX = "gatewise-program"
ENTRIES = 4096  # files and folders that a program may have


class Scratch:
    """A folder for each role of a process. `sweep` removes the folders of owners that were killed."""

    def __init__(self, user: int | None) -> None:
        sweep()
        self._user = user
        self.path = tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-")
        os.chmod(self.path, 0o711)  # so that the user can pass through it

    def empty(self, role: str) -> str:
        """The path of the role's folder, made empty."""
        path = os.path.join(self.path, role)
        if os.path.exists(path):
            remove(path)
        os.mkdir(path, 0o700)
        if self._user is not None:
            os.chown(path, self._user, self._user)
        return path

    def remove(self) -> None:
        if os.path.exists(self.path):
            remove(self.path)

    def full(self, role: str, disk_mb: int) -> bool:
        """Whether the role's folder holds more than disk_mb or ENTRIES, or cannot be read."""
        size = entries = 0
        folders = [os.path.join(self.path, role)]
        while folders:
            try:
                for entry in os.scandir(folders.pop()):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    entries += 1
            except FileNotFoundError:  # the program removed it meanwhile
                continue
            except OSError:  # its mode forbids reading, or its path is too long
                return True
            if size > disk_mb << 20 or entries > ENTRIES:
                return True
        return False


def remove(path: str) -> None:
    """Remove a folder with its content, at any depth and with any modes; links are removed, not followed."""
    number = 0
    while True:
        folders = clear(path)
        if not folders:
            os.rmdir(path)
            return
        for name in folders:
            folder = os.path.join(path, name)
            for deeper in clear(folder):  # moved up, so that no path grows too long
                number += 1
                os.rename(os.path.join(folder, deeper), os.path.join(path, f"{PREFIX}.{number}"))
            os.rmdir(folder)


def clear(path: str) -> list[str]:
    """Remove the files of a folder; the names of the folders in it."""
    os.chmod(path, 0o700)
    folders = []
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o700)  # a folder that cannot be written to cannot be moved
            folders.append(entry.name)
        else:
            os.unlink(entry.path)
    return folders


def sweep() -> None:
    """Remove the folders of owners that have ended; the next sweep tries again where one cannot be removed yet."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*-*"):
        owner = path.name.removeprefix(f"{PREFIX}-").partition("-")[0]
        with contextlib.suppress(OSError):  # another process sweeps too, or a program that is ending still writes
            if not os.path.exists(f"/proc/{owner}") and path.stat().st_uid == os.getuid():
                remove(str(path))
