"""The table of runs, and its lines for a program."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from cluster.commands.runs.state import RunState, age, runs_below, state_of
from cluster.record.progress.harmless import harmless
from configs.errors import NoRun

HEAD = ("run", "state", "step", "reward", "best", "age")
RIGHT = (2, 3, 5)  # columns of numbers
NARROWEST = 20  # columns that a run's name keeps


def list_runs(folder: Path, *, as_json: bool) -> None:
    """Print the runs below a folder, the newest first; NoRun where there is none."""
    if not folder.is_dir():
        raise NoRun(f"{folder} is no folder: give one below which there are runs, as `gatewise runs FOLDER`")
    found = sorted(map(state_of, runs_below(folder)), key=lambda run: -(run.at or 0.0))
    if not found:
        raise NoRun(f"there is no run in {folder}: give the folder in which run.dir lies, as `gatewise runs FOLDER`")
    if as_json:
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
