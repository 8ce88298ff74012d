"""The command `gatewise runs`: the runs in a folder, each with its state, step, reward and best step."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size

from cluster.commands.runs.state import RunState, age, runs_below, state_of
from cluster.record.progress.harmless import harmless
from configs.errors import NoRun
from configs.home import expanded

EPILOG = """
  gatewise runs                 the runs below runs/, the newest first
  gatewise runs /data/mine      those below another folder, or a single run
  gatewise runs --json          the same for a program

running: a driver holds the run's lock. finished: run.steps are learned. stopped: by Ctrl-C or a signal. failed: by an error, which stands
behind it. ended: no end is on record, so it was killed, its machine went down, or an older version made it. The reward is the mean of the
last 10 steps, the age that of the newest step.
"""
HEAD = ("run", "state", "step", "reward", "best", "age")
RIGHT = (2, 3, 5)  # columns of numbers
NARROWEST = 20  # columns that a run's name keeps


def add_runs(commands: Any) -> None:
    """Add `runs` to the command line."""
    what = "list the runs in a folder with state, step, reward and best step"
    command = commands.add_parser("runs", help=what, description=what, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="where to look, at most 4 folders deep; default: runs")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run_runs)


def run_runs(asked: argparse.Namespace) -> None:
    """Print the list; NoRun where there is no such folder, or no run in it."""
    folder = expanded(asked.folder)
    if not folder.is_dir():
        raise NoRun(f"{asked.folder} is no folder: give one below which there are runs, as `gatewise runs FOLDER`")
    found = sorted(map(state_of, runs_below(folder)), key=lambda run: -(run.at or 0.0))
    if not found:
        raise NoRun(f"there is no run in {asked.folder}: give the folder in which run.dir lies, as `gatewise runs FOLDER`")
    if asked.json:
        print(json.dumps([asdict(run) for run in found], default=str))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(table(found, folder, width)))


def table(runs: Sequence[RunState], folder: Path, width: int | None) -> list[str]:
    """A line a run under a head; each fits `width` columns, where there is a width."""
    rows = [HEAD, *(row(run, folder) for run in runs)]
    widths = [max(cell_len(cells[column]) for cells in rows) for column in range(len(HEAD))]
    if width is not None:
        widths[0] = max(min(widths[0], width - sum(widths[1:]) - 2 * (len(HEAD) - 1)), NARROWEST)
    lines = ["  ".join(padded(cell, widths[place], place in RIGHT) for place, cell in enumerate(cells)) for cells in rows]
    whys = ["", *(harmless(run.why) for run in runs)]
    whole = [f"{line}  {why}" if why else line for line, why in zip(lines, whys, strict=True)]
    return [(line if width is None or cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…").rstrip() for line in whole]


def row(run: RunState, folder: Path) -> tuple[str, ...]:
    """The cells of one run."""
    name = str(run.folder) if run.folder == folder else str(run.folder.relative_to(folder))
    best = "-" if run.best is None else f"{run.best.by} {run.best.value:.3f} at {run.best.step}"
    reward = "-" if run.reward is None else f"{run.reward:.3f}"
    return harmless(name), run.state, f"{run.step}/{'?' if run.steps is None else run.steps}", reward, best, age(run.at)


def padded(cell: str, width: int, right: bool) -> str:
    """A cell of exactly `width` columns, cut in its middle where it is longer; letters of East Asia take two."""
    if cell_len(cell) > width:
        half = (width - 1) // 2
        return set_cell_size(f"{cell[:half]}…{cell[-(width - 1 - half) :]}", width)
    fill = " " * (width - cell_len(cell))
    return fill + cell if right else cell + fill
