"""The child's side of a session: one interpreter that runs program after program with the names of those before.

What a program raises is printed and ends that program alone.
"""

import contextlib
import json
import os
import sys
from io import TextIOWrapper
from typing import Any

from reward.programs.cell import in_short, run_cell


def serve_session(names: dict[str, Any], channel: int, answers: int) -> None:
    """Run the programs that come through the channel as JSON lines, with these global names.

    After each comes a line to `answers`: its number, and 1 where it raised nothing, else 0.
    """
    os.dup2(1, 2)  # one text, in the order in which lines were printed
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    lines = open(channel, "rb", closefd=False)  # noqa: SIM115
    for line in lines:
        order = json.loads(line)
        ended = run_program(order["program"], names)
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(Exception):  # a stand-in of the program's
                stream.flush()  # type: ignore[union-attr]
        try:
            os.write(answers, b"%d %d\n" % (order["number"], ended))
        except OSError:  # the program has closed it: its interpreter cannot be used any more
            return


def run_program(source: str, names: dict[str, Any]) -> bool:
    """Run one program and print what it raises; whether it raised nothing. SystemExit ends the program alone."""
    try:
        return run_cell(source, names)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            show(f"{ended.code}\n")
        return not ended.code
    except BaseException as error:  # the program has spoiled the streams by which its own error was to be printed
        show(in_short(error))
        return False


def show(text: str) -> None:
    """Print behind what the program has printed, whatever it did to its streams."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os.write(2, text.encode(errors="backslashreplace"))
