"""The command `gatewise trace`."""

import argparse
from pathlib import Path
from typing import Any

from cluster.record.metrics.sinks import METRICS
from cluster.record.metrics.timeline.file import TIMELINE
from cluster.record.metrics.timeline.lanes import read_timeline
from cluster.record.metrics.timeline.trace_events import BEGINS, write_trace
from cluster.record.progress.harmless import say
from cluster.record.saves.asked import refuse_to
from configs.arithmetic import counted
from configs.errors import InputError, NoRun
from configs.home import expanded

VIEWER = "ui.perfetto.dev"


def add_trace(commands: Any) -> None:
    """Add `trace` to the command line."""
    what = f"write the recorded steps of a run as a trace, a file that {VIEWER} and chrome://tracing open"
    command = commands.add_parser("trace", help=what, description=what)
    command.add_argument("run_dir", metavar="RUN", help="run.dir of a run, at work or not")
    command.add_argument("--to", metavar="FILE", required=True, help="file to write, such as trace.json; compressed if it ends with .gz")
    command.set_defaults(run=run_trace)


def run_trace(asked: argparse.Namespace) -> None:
    """Write the trace and say what it holds."""
    folder, to = expanded(Path(asked.run_dir)), expanded(Path(asked.to))
    if not any((folder / name).is_file() for name in ("config.toml", METRICS)):
        what = f"holds no run: it has neither config.toml nor {METRICS}" if folder.is_dir() else "is no folder"
        raise NoRun(f"{folder} {what}; give the run.dir of a run that has started")
    refuse_to(to, "trace.json", BEGINS)
    steps = read_timeline(folder)
    if not steps:
        raise InputError(
            f"{folder} has no recorded step in {TIMELINE}: its first step is not over, run.timeline_every was 0, or an older version wrote "
            "it. Continue the run, or start one with run.timeline_every = 10"
        )
    write_trace(steps, folder.absolute().name, to)
    count = sum(len(step.spans) for step in steps)
    say(f"{to}: {counted(count, 'span')} of {counted(len(steps), 'step')}; open it at {VIEWER}, which keeps it on this machine")
