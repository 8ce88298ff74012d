"""Run as a script with a folder: does `flock` lock there, and can two connections of SQLite share a ledger? Prints what fails.

It is a process of its own, because a lock on a file system whose lock service is gone waits for ever. It imports nothing of ours.
"""

import fcntl
import os
import sqlite3
import sys


def try_flock(folder: str) -> str:
    """What is wrong with flock in a folder; empty if a second lock of one file is refused."""
    path = os.path.join(folder, "lock")
    try:
        with open(path, "w") as first, open(path) as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return ""
            return "flock lets two processes lock one file"
    except OSError as error:
        return f"flock is refused ({error.strerror})"


def try_sqlite(folder: str) -> str:
    """What is wrong with SQLite in a folder; empty if one connection reads what another wrote."""
    path = os.path.join(folder, "ledger.db")
    try:
        writer, reader = (sqlite3.connect(path, isolation_level=None, timeout=0.2) for _ in range(2))
        (mode,) = writer.execute("PRAGMA journal_mode = WAL").fetchone()
        writer.execute("CREATE TABLE steps (step INTEGER)")
        writer.execute("INSERT INTO steps VALUES (1)")
        rows = reader.execute("SELECT step FROM steps").fetchall()
        writer.close()
        reader.close()
    except sqlite3.Error as error:
        return f"SQLite fails ({error})"
    if rows != [(1,)]:
        return "SQLite does not read what it wrote"
    return "" if mode == "wal" else f"SQLite has no write-ahead log there (journal mode {mode})"


if __name__ == "__main__":
    print("; ".join(filter(None, (try_flock(sys.argv[1]), try_sqlite(sys.argv[1])))))
