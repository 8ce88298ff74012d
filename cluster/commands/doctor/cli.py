"""`gatewise doctor` on the command line."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from cluster.record.progress.harmless import say

EPILOG = """
  gatewise doctor                                  this machine and its installation
  gatewise doctor configs/tiny_cpu.toml            also run.dir, device, rewards and whether engines and ranks fit
  gatewise doctor CONFIG run.dir=/shared/run       with settings, as train takes them
  gatewise doctor --json                           the same as a list of objects: name, status, found, do, node

Takes seconds, starts nothing, holds no GPU, shows no secret. With RAY_ADDRESS every node of the cluster looks at itself, too.
Exits 1 where there is an error. A warning stops nothing.
"""
DESCRIPTION = "Look for what is wrong with a machine, an installation or a cluster before a run meets it, and say what to do."


def add_doctor(commands: Any) -> None:
    """Add `doctor` to the command line."""
    doctor = commands.add_parser(
        "doctor", help="look at the machine and the installation, and say what to do", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    doctor.add_argument("config", nargs="?", help="a TOML file; without one only the machine is looked at")
    doctor.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings that replace the file's, in TOML syntax")
    doctor.add_argument("--json", action="store_true", help="print a list of objects instead of lines")
    doctor.set_defaults(run=run_doctor)


def run_doctor(asked: argparse.Namespace) -> None:
    """Print what was found; UnfitMachine where there is an error."""
    from cluster.commands.doctor.report import UnfitMachine, describe, diagnose_file, summary

    found = diagnose_file(asked.config, asked.overrides)
    if asked.json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        for line in describe(found):
            say(line)
    wrong = list(dict.fromkeys(one.name for one in found if one.status == "error"))
    if wrong:
        raise UnfitMachine(f"{summary(found)}: see {', '.join(wrong)} above")
