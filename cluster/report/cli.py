"""The commands `gatewise report` and `gatewise watch`."""

import argparse
from pathlib import Path
from typing import Any

from configs.errors import InputError
from configs.home import expanded


def add_report(commands: Any) -> None:
    """Add `report` to the command line."""
    what = "write a run's report, one HTML file that opens without a network; several runs stand side by side"
    command = commands.add_parser("report", help=what, description=what)
    command.add_argument("runs", nargs="+", metavar="RUN", help="run.dir of a run, at work or not")
    command.add_argument("--to", metavar="FILE", help="file to write; by default report.html in the first run's folder")
    command.set_defaults(run=run_report)


def run_report(asked: argparse.Namespace) -> None:
    """Write the report and say where it is."""
    from cluster.report.write import write_report

    to = None if asked.to is None else expanded(asked.to)
    if to is not None and to.is_dir():
        raise InputError(f"--to got the folder {to}, needed a file: give {to / 'report.html'}")
    if to is not None and not to.absolute().parent.is_dir():
        raise InputError(f"--to got {to}, and its folder does not exist: make it, or give another one")
    print(write_report([expanded(Path(folder)) for folder in asked.runs], to))
