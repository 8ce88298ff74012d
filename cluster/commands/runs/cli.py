"""The command `gatewise runs`: the runs in a folder, each with its state, step, reward and best step."""

import argparse
from typing import Any

from configs.home import expanded

EPILOG = """
  gatewise runs                 the runs below runs/, the newest first
  gatewise runs /data/mine      those below another folder, or a single run
  gatewise runs --json          the same for a program

running: a driver holds the run's lock. finished: run.steps are learned. stopped: by Ctrl-C or a signal. failed: by an error, which stands
behind it. ended: no end is on record, so it was killed, its machine went down, or an older version made it. The reward is the mean of the
last 10 steps, the age that of the newest step.
"""


def add_runs(commands: Any) -> None:
    """Add `runs` to the command line."""
    what = "list the runs in a folder with state, step, reward and best step"
    command = commands.add_parser("runs", help=what, description=what, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="where to look, at most 4 folders deep; default: runs")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run_runs)


def run_runs(asked: argparse.Namespace) -> None:
    """Print the list; NoRun where there is no such folder, or no run in it."""
    from cluster.commands.runs.listing import list_runs  # numpy and rich take a moment that other commands need not wait for

    list_runs(expanded(asked.folder), as_json=asked.json)
