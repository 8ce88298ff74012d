"""The command `gatewise engines`: the engines of a run at work, and how many it should have."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.record.progress.harmless import say
from cluster.record.scaling.asking import PATIENCE_S, ask, count_of, status_of
from cluster.record.scaling.files import Asked, EngineState, Status
from configs.arithmetic import span
from configs.errors import InputError
from configs.home import expanded

EPILOG = """
From another terminal, or another node that sees the run directory:

  gatewise engines runs/mine                  each engine's place, life, health, version of its weights, node
  gatewise engines runs/mine --count 4        more join at the next publish; too many finish their groups and leave after one
  gatewise engines runs/mine --count auto     with rollout.engines = { min, max }: follow the nodes again
  gatewise engines runs/mine --json           the same for a program

A count holds until the next one, or until the run ends; rollout.engines says how many a resumed run starts with. Exit status 2 where RUN is
no run at work, or where it cannot have so many engines.
"""


def add_engines(commands: Any) -> None:
    """Add `engines` to the command line."""
    what = "show the engines of a run at work, or change their number"
    command = commands.add_parser(
        "engines", help=what, description=what, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("run_dir", metavar="RUN", help="run.dir of a run at work")
    command.add_argument("--count", type=count, metavar="N", help="engines that the run should have from now on, or auto")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run_engines, refuse=command.error)


def count(text: str) -> Asked:
    """A number of engines, or "auto"."""
    try:
        return count_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_engines(asked: argparse.Namespace) -> None:
    """Print the engines, after the driver has answered where a count is given. What cannot be is bad usage: exit status 2."""
    folder = expanded(asked.run_dir).absolute()
    try:
        status = status_of(folder) if asked.count is None else ask(folder, asked.count, PATIENCE_S)
    except InputError as error:
        asked.refuse(str(error))
    if asked.json:
        print(status.model_dump_json(indent=1))
        return
    if asked.count is not None and status.answer is not None:
        say(status.answer.said)
    for line in described(folder, status, time.time()):
        say(line)


def described(folder: Path, status: Status, now: float) -> list[str]:
    """The engines as a table, below a line about their number."""
    allowed = f", {span(status.fewest, status.most)} allowed" if status.most is not None else ""
    follows = ", more when nodes join" if status.follows else ""
    rows = [("engine", "life", "health", "version", "node", "since"), *(row_of(engine, now) for engine in status.engines)]
    return [f"engines of {folder}: {status.wanted} wanted{allowed}{follows}", *table(rows)]


def row_of(engine: EngineState, now: float) -> tuple[str, ...]:
    """The cells of one engine."""
    version = "-" if engine.version is None else str(engine.version)
    return (engine.name, str(engine.life), engine.health, version, engine.node, ago(now - engine.since))


def ago(seconds: float) -> str:
    """A time that has passed, in its largest unit: "40 s", "3 min", "2.5 h"."""
    passed = max(0.0, seconds)  # clocks of two nodes differ
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= size:
            return f"{passed / size:.2g} {unit}"
    return f"{passed:.0f} s"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
