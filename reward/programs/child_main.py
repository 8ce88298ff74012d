"""A child of the launcher: it closes the walls around itself, then becomes the program, or the tester of one."""

import _sitebuiltins
import atexit
import builtins
import contextlib
import os
import random
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any, NoReturn

from reward.programs import calls, cell, library, objects, session, tester
from reward.programs.walls import Limits, Walls

READY = b"ready"
LentTo = Callable[[CodeType], bool]  # whether a program may use the names of `reward.programs.library`
STANDARD = ("stdin", "stdout", "stderr")


def run_child(walls: Walls, order: dict[str, Any], fds: dict[str, int], owner: int) -> NoReturn:
    """Confine this process and carry out the order; the process ends here in every case.

    The descriptor `status` gets "ready" when all walls are closed, else the error; nothing untrusted is read before that.
    """
    code = 1
    try:
        status = fds.pop("status")
        try:
            work = confine(walls, order, fds, owner, status)
        except Exception as error:  # `status` is the only way to report it; without "ready" nothing runs
            os.write(status, f"{type(error).__name__}: {error}".encode())
            os._exit(1)
        os.write(status, READY)
        os.close(status)
        code = finish(work)
    finally:
        os._exit(code)


def confine(walls: Walls, order: dict[str, Any], fds: dict[str, int], owner: int, status: int) -> Callable[[], object]:
    """Close all walls; return the work to do behind them."""
    os.umask(0o077)
    if walls.unsafe:
        os.setpgid(0, 0)
    walls.close(order["folder"], Limits(**order["limits"]), owner)
    for place, name in enumerate(STANDARD):
        os.dup2(fds.pop(name), place)
    kept = sorted([status, *fds.values()])
    for low, high in zip([2, *kept], [*kept, 1 << 20], strict=True):
        os.closerange(low + 1, high)
    os.environ |= {"TMPDIR": order["folder"], "HOME": order["folder"], "LANG": "C.UTF-8"}
    walls.filter_calls()
    tempfile.tempdir = order["folder"]
    sys.dont_write_bytecode = True
    sys.set_int_max_str_digits(0)  # the limits of time and memory bound what a long number costs
    random.seed()
    kind = order["kind"]
    if kind == "tests":
        return lambda: tester.run_tests(fds["source"], fds["channel"], fds["answers"])
    sources = [fds[name] for name in ("prelude", "source") if name in fds]
    if kind == "calls":
        lent_to: LentTo = library.to_all if order["prelude"] else library.to_none
        return lambda: calls.answer_calls(define(sources, lent_to), fds["data"], fds["answers"])
    if kind == "objects":
        lent_to = library.to_solutions if order["prelude"] else library.to_none
        return lambda: objects.serve_objects(define(sources, lent_to), fds["channel"])
    if kind == "session":
        os.close(fds["source"])
        return lambda: session.serve_session(main_module("__main__"), fds["channel"], fds["answers"])
    if kind == "cell":
        return lambda: sys.exit(not cell.run_cell(read_all(fds["source"]).decode("utf-8", "surrogatepass"), main_module("__main__")))
    return lambda: run_sources(sources, main_module("__main__"))


def read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


def main_module(name: str) -> dict[str, Any]:
    """The global names of a fresh main module of that name; our modules can no longer be imported."""
    main = ModuleType(name)
    main.__dict__.update({"__builtins__": builtins, "__file__": "program.py"})
    for ours in [module for module in sys.modules if module == "reward" or module.startswith("reward.")]:
        del sys.modules[ours]
    sys.modules["__main__"] = sys.modules[name] = main
    sys.argv = ["program.py"]
    for word in ("exit", "quit"):  # usually defined by `site`, which this interpreter has not imported
        setattr(builtins, word, _sitebuiltins.Quitter(word, "Ctrl-D"))
    return main.__dict__


def define(sources: Sequence[int], lent_to: LentTo) -> dict[str, Any]:
    """Run a program as an imported module and return its names, also where it ends by sys.exit."""
    names = main_module("program")
    with contextlib.suppress(SystemExit):
        run_sources(sources, names, lent_to)
    return names


def run_sources(sources: Sequence[int], names: dict[str, Any], lent_to: LentTo = library.to_none) -> None:
    """Run the texts of the descriptors one after the other, with these global names; `lent_to`: which of them the library is lent to."""
    for source in [read_all(descriptor) for descriptor in sources]:
        code = compile(source, "program.py", "exec", dont_inherit=True)
        if lent_to(code):
            library.lend(code)
        exec(code, names)


def finish(work: Callable[[], object]) -> int:
    """Do the work and end as an interpreter does: print the exception, wait for threads, flush; the exit status."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    code = 0
    try:
        work()
    except SystemExit as ended:
        code = exit_status(ended.code)
    except BaseException as error:  # any exception of a program, printed as an interpreter prints it
        traceback.print_exception(type(error), error, error.__traceback__.tb_next if error.__traceback__ else None)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None and not getattr(stream, "closed", False):
            with contextlib.suppress(AttributeError):  # a stand-in that can only write
                stream.flush()
    return code


def exit_status(code: object) -> int:
    """The exit status of a process that raised SystemExit with this code."""
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1
