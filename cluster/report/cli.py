"""The commands `gatewise report` and `gatewise watch`."""

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.record.progress.harmless import say
from cluster.record.saves.asked import refuse_to
from configs.home import expanded


def add_report(commands: Any) -> None:
    """Add `report` and `watch` to the command line."""
    what = "write a run's report, one HTML file that opens without a network; several runs stand side by side"
    command = commands.add_parser("report", help=what, description=what)
    command.add_argument("runs", nargs="+", metavar="RUN", help="run.dir of a run, at work or not")
    command.add_argument("--to", metavar="FILE", help="file to write; by default report.html in the first run's folder")
    command.set_defaults(run=run_report)
    what = "serve a run's report live in the browser: on this machine only, at an address with a random token"
    command = commands.add_parser("watch", help=what, description=what)
    command.add_argument("runs", nargs="+", metavar="RUN", help="run.dir of a run, at work or not")
    command.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on; any but loopback needs --token")
    command.add_argument("--token", help="secret in the address, at least 16 letters, digits, - or _; by default a random one")
    command.set_defaults(run=run_watch)


def run_report(asked: argparse.Namespace) -> None:
    """Write the report and say where it is."""
    from cluster.report.write import BEGINS, REPORT, write_report

    to = None if asked.to is None else expanded(asked.to)
    if to is not None:
        refuse_to(to, REPORT, BEGINS)
    say(write_report([expanded(Path(folder)) for folder in asked.runs], to))


def run_watch(asked: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from cluster.report.watch import LAST, open_server

    os.nice(LAST)
    with open_server([expanded(Path(folder)) for folder in asked.runs], asked.host, asked.port, asked.token) as server:
        print(f"{server.address}\nopen this address in a browser; Ctrl-C ends", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
