"""What a person types: a line is a turn, and three quotes begin and end a turn of several lines."""

import sys
from collections.abc import Callable
from typing import TextIO

QUOTES = '"""'


class Left(Exception):
    """Whoever was the model left before the episode was over."""


class Lines:
    """Reads from a terminal with its line editing, from a pipe or a file as it is; there it repeats what it read."""

    def __init__(self, source: TextIO | None = None, say: Callable[[str], None] = print) -> None:
        self.source, self.say = source or sys.stdin, say
        self.live = self.source.isatty()
        if self.live:
            import readline  # noqa: F401  # `input` then edits lines
        elif (reconfigure := getattr(self.source, "reconfigure", None)) is not None:
            reconfigure(errors="replace")  # bytes that are no text must not end the episode with a traceback

    def turn(self, ask: str) -> str:
        """The next turn; Left at the end of the input."""
        first = self.line(ask)
        if not first.lstrip().startswith(QUOTES):
            return first
        lines = [first.lstrip().removeprefix(QUOTES)]
        while not lines[-1].rstrip().endswith(QUOTES):
            lines.append(self.line("... "))
        lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        return "\n".join(lines)

    def line(self, ask: str) -> str:
        """The next line without its end; Left at the end of the input."""
        if self.live:
            try:
                return input(ask)
            except EOFError:
                self.say("")
                raise Left from None
            except KeyboardInterrupt:
                self.say("")  # what is printed next must not stand behind the question
                raise
        line = self.source.readline()
        if not line:
            raise Left
        self.say(f"{ask}{line.rstrip(chr(10))}")
        return line.rstrip("\r\n")
