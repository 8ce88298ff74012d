"""The command `gatewise track`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cluster.record.metrics.sinks import METRICS
from cluster.record.metrics.trackers.followers import Followers, asked_of
from cluster.record.metrics.trackers.ready import tracker_problems
from cluster.record.metrics.trackers.table import TRACKERS
from cluster.record.progress.harmless import say
from configs.errors import InputError, NoRun
from configs.home import expanded
from configs.loader import load

WITHIN_S, TROUBLED_S = 600.0, 60.0  # the longest time, and that for a tracker that is in trouble


def add_track(commands: Any) -> None:
    """Add `track` to the command line."""
    what = "send a run that is not at work to its trackers: what they lack, or all of it to a new one"
    command = commands.add_parser("track", help=what, description=what)
    command.add_argument("folder", metavar="RUN", help="run.dir of a run")
    command.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings of [trackers] that replace the run's own")
    command.add_argument("--to", metavar="TRACKER", action="append", choices=list(TRACKERS), help="a tracker; by default those of the run")
    command.add_argument("--within", metavar="SECONDS", type=float, default=WITHIN_S, help="longest time, by default 600")
    command.set_defaults(run=run_track)


def has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def run_track(asked: argparse.Namespace) -> None:
    """Send the files of a run; exits with status 1 where a tracker lacks something in the end."""
    from cluster.record.run_dir import refuse_locked  # imports numpy, which the command line does without

    folder = expanded(asked.folder).absolute()
    if not has_bytes(folder / METRICS) or not (folder / "config.toml").is_file():
        raise NoRun(f"{folder} holds no run with metrics: give the run.dir of a run that has made a step")
    if foreign := [text for text in asked.overrides if not text.startswith("trackers.")]:
        raise InputError(f"{foreign[0]} is no setting of [trackers], and a run that is recorded has no other ones: remove it")
    if not asked.within > 0:
        raise InputError(f"--within got {asked.within:g}, needed a number of seconds above 0")
    to = [f"trackers.use={json.dumps(list(dict.fromkeys(asked.to)))}"] if asked.to else []
    config = load(folder / "config.toml", [*asked.overrides, *to, f"run.dir={json.dumps(str(folder))}"])
    names = list(dict.fromkeys(asked.to or config.followed_by))
    if not names:
        raise InputError(f"the run in {folder} has no trackers: name one, such as --to mlflow")
    refuse_locked(config)
    if problems := list(tracker_problems(config)):
        raise InputError("\n".join(problems))
    followers = Followers(folder, names, asked_of(config).model_copy(update={"end_s": asked.within}), say)
    followers.start()
    delivered = followers.end(lambda: False, TROUBLED_S)
    for name in names if delivered else ():
        print(f"{name}: has every step")
    if not delivered:
        sys.exit(1)
