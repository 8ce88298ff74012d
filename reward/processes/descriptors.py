"""Bytes through descriptors: all that is there now, and all that is to be written."""

import os

MOST_AT_ONCE = 1 << 16


def read_now(descriptor: int) -> bytes | None:
    """The next bytes of a descriptor that does not block; b"" at its end, None where nothing has come yet."""
    try:
        return os.read(descriptor, MOST_AT_ONCE)
    except BlockingIOError:
        return None


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, in as many pieces as the kernel takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
