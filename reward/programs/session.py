"""The child's side of a session: one interpreter that runs program after program with the names of those before.

As in a notebook, the value of a last line that is an expression is printed. What a program raises is printed and ends that program alone.
"""

import ast
import contextlib
import json
import linecache
import os
import sys
import traceback
from io import TextIOWrapper
from types import TracebackType
from typing import Any

FILE = "program.py"


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
    """Run one program and print what it raises; whether it raised nothing."""
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)  # tracebacks show its lines
    try:
        tree = ast.parse(source, FILE)
        last = [tree.body.pop()] if tree.body and isinstance(tree.body[-1], ast.Expr) else []
        exec(compile(tree, FILE, "exec", dont_inherit=True), names)
        exec(compile(ast.Interactive(last), FILE, "single", dont_inherit=True), names)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            show(f"{ended.code}\n")
        return not ended.code
    except BaseException as error:  # any exception of a program, printed as an interpreter prints it
        show("".join(traceback.format_exception(type(error), error, without_ours(error.__traceback__))))
        return False
    return True


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the program's first frame on."""
    while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
        trace = trace.tb_next
    return trace


def show(text: str) -> None:
    """Print behind what the program has printed, whatever it did to its streams."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os.write(2, text.encode(errors="backslashreplace"))
