"""A program as a notebook runs a cell: the value of a last expression is printed, and errors are short."""

import ast
import linecache
import sys
import traceback
from typing import Any

FILE = "program.py"
SHOWN_FRAMES = 4


def run_cell(source: str, names: dict[str, Any]) -> bool:
    """Run a program with these global names, in this process; whether it ended without an exception.

    It prints the `repr` of a last expression that is not None to stdout, and of an exception the program's own last lines to stderr.
    SystemExit is passed on.
    """
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    try:
        tree = ast.parse(source, FILE)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, FILE, "exec", dont_inherit=True), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), FILE, "eval", dont_inherit=True), names)
            if value is not None:
                print(repr(value))
    except SystemExit:
        raise
    except BaseException as error:  # any exception of a program, as a notebook shows it
        print(in_short(error), file=sys.stderr, end="")
        return False
    return True


def in_short(error: BaseException) -> str:
    """An exception with the lines of the program that led to it, the last ones of many."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    left_out = [f"  … {len(frames) - SHOWN_FRAMES} more lines of the program\n"] if len(frames) > SHOWN_FRAMES else []
    lines = [line.replace(f'File "{FILE}", line', "line", 1) for line in traceback.format_list(frames[-SHOWN_FRAMES:])]
    head = ["Traceback:\n"] if frames else []
    return "".join([*head, *left_out, *lines, *traceback.format_exception_only(error)])
