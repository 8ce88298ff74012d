"""Files of text, plain or compressed: UTF-8, with or without a byte order mark."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from rollout.data.row import DatasetError

MARK = b"\xef\xbb\xbf"
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16 and of UTF-32
COMPRESSED = (".gz", ".zst")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked; a DatasetError names a file that cannot be read or is not compressed as its name says."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                yield cast(IO[bytes], file)
        elif path.suffix == ".zst":
            import pyarrow as pa  # Python has no module for Zstandard

            stream: Any = pa.input_stream(str(path), compression="zstd")
            with stream, BufferedReader(stream) as file:
                yield file
        else:
            with path.open("rb") as file:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        kind = f"cannot be unpacked as {path.suffix}" if path.suffix in COMPRESSED else "cannot be read"
        remedy = "write it again, or name it after what it is" if path.suffix in COMPRESSED else "give a readable file"
        raise DatasetError(f"{path} {kind} ({error}): {remedy}") from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line with its number from 1 and its line end; a DatasetError names a line that is not UTF-8."""
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            yield number, decode(line if number > 1 else without_mark(path, line), path, number)


def whole_text(path: Path) -> str:
    """All of the file at once; a DatasetError names a line that is not UTF-8."""
    with opened(path) as file:
        return decode(without_mark(path, file.read()), path, 1)


def without_mark(path: Path, start: bytes) -> bytes:
    """The file's first bytes without a byte order mark; a DatasetError if the mark is of another encoding."""
    if start.startswith(WIDE_MARKS):
        raise DatasetError(f"{path} is UTF-16 or UTF-32, needed UTF-8: save it as UTF-8")
    return start.removeprefix(MARK)


def decode(data: bytes, path: Path, first: int) -> str:
    """The text of bytes that begin in line `first`; a DatasetError names the line that is not UTF-8 or has NUL bytes."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first + data.count(b"\n", 0, error.start)
        raise DatasetError(
            f"{path} line {line} has the byte 0x{data[error.start]:02x} ({error.reason}), so it is not UTF-8: save the file as UTF-8 "
            "(spreadsheets and older tools write Latin-1 or Windows-1252)"
        ) from error
    if (place := text.find("\0")) >= 0:
        line = first + text.count("\n", 0, place)
        raise DatasetError(f"{path} line {line} has a NUL byte, so the file is damaged or is UTF-16: write it again as UTF-8")
    return text
