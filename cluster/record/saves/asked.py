"""A file that a command writes where its user says, with `--to`."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from configs.errors import InputError

LONGEST = 40  # letters of its name in that of the file beside it, whose name must not be too long


def refuse_to(to: Path, usual: str, begins: Sequence[bytes]) -> None:
    """InputError where `--to` is no place for a file, or has one that begins with none of `begins`, which would be lost."""
    try:
        if to.is_dir():
            raise InputError(f"--to got the folder {to}, needed a file: give {to / usual}")
        if not to.absolute().parent.is_dir():
            raise InputError(f"--to got {to}, and its folder does not exist: make it, or give another one")
        if to.is_file() and (found := head_of(to, max(map(len, begins)))) and not found.startswith(tuple(begins)):
            raise InputError(f"--to got {to}, which holds something else that would be lost: give another name, such as {usual}")
    except OSError as error:
        raise InputError(f"--to got {to}, which cannot be used ({error.strerror}): give another one, such as {usual}") from error


def head_of(path: Path, size: int) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(size)


def write_aside(path: Path, data: bytes) -> None:
    """Write a file so that a reader never sees half of it. A device or a pipe, such as /dev/stdout, is written to and stays what it is."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()
    aside = path.with_name(f".{path.name[:LONGEST]}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        with suppress(OSError):
            aside.unlink()
