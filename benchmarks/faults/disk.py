"""The disk of a laboratory run: it fills up, and it loses what was not flushed when the power is cut."""

import builtins
import errno
import io
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

LEDGER = "ledger.db"
CHANGES = ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "BEGIN", "PRAGMA")


class Disk:
    """Every file below `root`, which must lie on one file system. One disk a process."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.full = self.idle = False
        self.operations = self.due = 0  # the operation before which `strike` is called
        self.strike: Callable[[], object] = lambda: None
        self.synced: dict[int, int] = {}  # bytes of each file, by inode, that a power cut leaves
        self.raw: set[int] = set()  # descriptors that are written to without a file object
        self.ledgers: list[sqlite3.Connection] = []

    def operate(self) -> None:
        """One operation that changes the disk: it may be the driver's last, and raises ENOSPC while the disk is full."""
        if self.idle:
            return
        self.operations += 1
        if self.operations == self.due:
            self.strike()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def capture(self, run: Path, power_cut: bool) -> None:
        """Keep what a killed driver leaves. Whatever its clean-up still does goes to the old files."""
        self.idle = True
        dead, fresh = run.with_name("dead"), run.with_name("fresh")
        run.rename(dead)
        shutil.copytree(dead, fresh, ignore=shutil.ignore_patterns("*.db-shm"))
        if power_cut:
            self.lose(dead, fresh)

    def restore(self, run: Path) -> None:
        """Give a successor what `capture` kept."""
        for connection in self.ledgers:
            connection.close()  # it may delete files by their old names
        run.with_name("fresh").rename(run)
        shutil.rmtree(run.with_name("dead"))
        for path in run.rglob("*"):
            found = path.stat()
            self.synced[found.st_ino] = found.st_size  # by now the machine has written everything

    def reset(self) -> None:
        """Get ready for the next driver."""
        self.idle, self.full, self.due = False, False, 0
        self.strike = lambda: None
        self.ledgers.clear()

    def lose(self, dead: Path, fresh: Path) -> None:
        """Cut every copied file off after its last flushed byte. Of the ledger, what is only in its log is lost."""
        for path in [path for path in fresh.rglob("*") if path.is_file()]:
            if path.name.startswith(LEDGER):
                if path.name != LEDGER:
                    path.unlink()
                continue
            kept = self.synced.get((dead / path.relative_to(fresh)).stat().st_ino, 0)
            if kept < path.stat().st_size:
                os.truncate(path, kept)

    def is_mine(self, file: Any) -> bool:
        """Whether a file lies on this disk."""
        return isinstance(file, str | os.PathLike) and str(file).startswith(self.root)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Within: files and ledgers below the root are on this disk."""
        open_file, sync, open_raw, write_raw = io.open, os.fsync, os.open, os.write

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not self.is_mine(file) or not set(mode) & set("wa+x"):
                return open_file(file, mode, *args, **kwargs)
            self.operate()
            return OnDisk(self, open_file(file, mode, *args, **kwargs))

        def synced(file: Any) -> None:
            self.operate()
            sync(file)
            found = os.fstat(file if isinstance(file, int) else file.fileno())
            self.synced[found.st_ino] = found.st_size

        def opened_raw(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            mine = self.is_mine(path) and bool(flags & (os.O_WRONLY | os.O_RDWR))
            if mine:
                self.operate()
            descriptor = open_raw(path, flags, *args, **kwargs)
            (self.raw.add if mine else self.raw.discard)(descriptor)
            return descriptor

        def written_raw(descriptor: int, data: Any) -> int:
            if descriptor in self.raw:
                self.operate()
            return write_raw(descriptor, data)

        with ExitStack() as stack:
            for place, name, hook in (
                (io, "open", opened), (builtins, "open", opened), (os, "open", opened_raw), (os, "write", written_raw),
                (os, "fsync", synced), (sqlite3, "connect", self._connecting(sqlite3.connect)),
                *((os, name, self._operating(getattr(os, name))) for name in ("mkdir", "rename", "replace")),
            ):  # fmt: skip
                stack.enter_context(patch.object(place, name, hook))
            yield

    def _operating(self, really: Callable[..., Any]) -> Callable[..., Any]:
        """A function of `os` that counts as an operation."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.operate()
            return really(*args, **kwargs)

        return call

    def _connecting(self, really: Callable[..., Any]) -> Callable[..., Any]:
        """`sqlite3.connect` whose databases are on this disk."""

        def connect(path: Any, *args: Any, **kwargs: Any) -> Any:
            found = really(path, *args, factory=Connection, **kwargs)
            found.disk = self
            self.ledgers.append(found)
            return found

        return connect


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
        self._disk.operate()
        return self._file.write(data)


class Connection(sqlite3.Connection):
    """A ledger that cannot be changed while its disk is full."""

    disk: Disk | None = None

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._operate(sql)
        return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._operate(sql)
        return super().executemany(sql, *args)

    def _operate(self, sql: str) -> None:
        if self.disk is None or sql.lstrip().split()[0].upper() not in CHANGES:
            return
        try:
            self.disk.operate()
        except OSError:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
            raise error from None


def damage(checkpoints: Path, chance: float) -> str:
    """Delete a file of the newest checkpoint, cut it off, or flip a bit of it; the name of the file, empty if there is no checkpoint."""
    found = sorted(path for path in checkpoints.glob("step_*") if path.name[5:].isdecimal())
    if not found:
        return ""
    files = sorted(path for path in found[-1].rglob("*") if path.is_file())
    victim = files[int(chance * len(files))]
    how = int(chance * 1000) % 3
    if how == 0:
        victim.unlink()
    elif how == 1:
        os.truncate(victim, victim.stat().st_size // 2)
    else:
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    return f"{found[-1].name}/{victim.name}"
