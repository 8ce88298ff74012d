"""Keeps secrets out of what a tracker's library prints or raises: logs, state files and the terminal get texts without them."""

import os
import re
from collections.abc import Iterator
from io import TextIOBase
from typing import TextIO

NAMED = re.compile(r"(KEY|TOKEN|PASSWORD|SECRET)(_|$)")  # in the name of a variable
IN_ADDRESS = re.compile(r"(?<=://)[^/@\s'\"]+@")  # user:password@
IN_QUERY = re.compile(r"(?i)((?:token|key|secret|password)=)[^&\s'\"]+")
SHORTEST = 6  # letters of a secret; a shorter one would hide parts of words


def secrets() -> Iterator[str]:
    """The values of this process's variables that are secrets by their names."""
    for name, value in os.environ.items():
        if NAMED.search(name) and len(value) >= SHORTEST and not os.path.exists(value):
            yield value


def hide(text: str) -> str:
    """The text without secrets."""
    for secret in secrets():
        text = text.replace(secret, "***")
    return IN_QUERY.sub(r"\1***", IN_ADDRESS.sub("", text))


class Hiding(TextIOBase):
    """Stands before a text stream and hides secrets."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text without secrets; the length is that of the text given."""
        self.stream.write(hide(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True
