"""The disk of a laboratory run: it fills up, and it loses what was not flushed when the power is cut."""

import builtins
import errno
import io
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

LEDGER = "ledger.db"


class Disk:
    """Every file below `root`, which must lie on one file system. One disk a process."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.full = False
        self.synced: dict[int, int] = {}  # bytes of each file, by inode, that a power cut leaves
        self.ledgers: list[sqlite3.Connection] = []

    def refuse(self, *_: Any, **__: Any) -> None:
        """Raise ENOSPC while the disk is full."""
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def image(self, run: Path, power_cut: bool) -> None:
        """Make of `run` what a successor finds after a driver was killed. Whatever the dead driver still does goes to the old files."""
        dead, fresh = run.with_name("dead"), run.with_name("fresh")
        shutil.rmtree(dead, ignore_errors=True)
        run.rename(dead)
        shutil.copytree(dead, fresh, ignore=shutil.ignore_patterns("*.db-shm"))
        if power_cut:
            self.lose(dead, fresh)
        for connection in self.ledgers:
            connection.close()  # it may delete files by their old names
        self.ledgers.clear()
        fresh.rename(run)
        shutil.rmtree(dead)

    def lose(self, dead: Path, fresh: Path) -> None:
        """Cut every copied file off after its last flushed byte. Of the ledger only what its last checkpoint moved out of the log is left."""
        for path in [path for path in fresh.rglob("*") if path.is_file()]:
            if path.name.startswith(LEDGER):
                if path.name != LEDGER:
                    path.unlink()
                continue
            kept = self.synced.get((dead / path.relative_to(fresh)).stat().st_ino, 0)
            if kept < path.stat().st_size:
                os.truncate(path, kept)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Within: files and ledgers below the root are on this disk."""
        really_open, really_sync, really_connect, really_mkdir = io.open, os.fsync, sqlite3.connect, os.mkdir

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            mine = not isinstance(file, int) and str(file).startswith(self.root) and any(letter in mode for letter in "wa+x")
            if not mine:
                return really_open(file, mode, *args, **kwargs)
            self.refuse()
            return OnDisk(self, really_open(file, mode, *args, **kwargs))

        def synced(descriptor: Any) -> None:
            self.refuse()
            really_sync(descriptor)
            found = os.fstat(descriptor if isinstance(descriptor, int) else descriptor.fileno())
            self.synced[found.st_ino] = found.st_size

        def connected(path: Any, *args: Any, **kwargs: Any) -> sqlite3.Connection:
            found = really_connect(path, *args, factory=Connection, **kwargs)
            assert isinstance(found, Connection)
            found.disk = self
            self.ledgers.append(found)
            return found

        def made(*args: Any, **kwargs: Any) -> None:
            self.refuse()
            really_mkdir(*args, **kwargs)

        with (
            patch.object(io, "open", opened),
            patch.object(builtins, "open", opened),
            patch.object(os, "fsync", synced),
            patch.object(os, "mkdir", made),
            patch.object(sqlite3, "connect", connected),
        ):
            yield


class OnDisk:
    """A file that cannot be written to while its disk is full."""

    def __init__(self, disk: Disk, file: Any) -> None:
        self._disk, self._file = disk, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "OnDisk":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def write(self, data: Any) -> Any:
        """Write, unless the disk is full."""
        self._disk.refuse()
        return self._file.write(data)


class Connection(sqlite3.Connection):
    """A ledger that cannot be changed while its disk is full."""

    disk: Disk | None = None

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._refuse(sql)
        return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._refuse(sql)
        return super().executemany(sql, *args)

    def _refuse(self, sql: str) -> None:
        if self.disk is not None and self.disk.full and sql.lstrip().split()[0].upper() in ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
            raise error


def damage(checkpoints: Path, chance: float) -> str:
    """Cut a file of the newest checkpoint off, or delete it; the name of the file, empty if there is no checkpoint."""
    found = sorted(path for path in checkpoints.glob("step_*") if path.name[5:].isdecimal())
    if not found:
        return ""
    files = sorted(path for path in found[-1].rglob("*") if path.is_file())
    victim = files[int(chance * len(files))]
    if chance * 1000 % 2 < 1:
        victim.unlink()
    else:
        os.truncate(victim, victim.stat().st_size // 2)
    return f"{found[-1].name}/{victim.name}"
