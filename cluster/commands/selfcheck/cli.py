"""The command `gatewise selfcheck`: minutes on your own machine, one table, and a file to attach to a report."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

EPILOG = """
It starts real engines and ranks twice, trains a few steps, kills an engine, resumes and exports, and says of each part whether it works:

  gatewise selfcheck                                  the tiny mixture of experts, on the GPUs or the CPU cores of this machine
  gatewise selfcheck my_run.toml                      a small random model of the recipe's family, with the recipe's settings
  gatewise selfcheck my_run.toml --full               the recipe's own model: needs the GPUs that it needs
  gatewise selfcheck my_run.toml model.path=Qwen/Qwen3-30B-A3B --gpus 4

selfcheck.json has the table, the versions, the GPUs and the settings; attach it when you report a problem. Exit status 1 if a part failed.
"""


class SelfcheckFailed(ValueError):
    """A part of the selfcheck failed; the table has its cause."""


def add_selfcheck(commands: Any) -> None:
    """Add `selfcheck` to the command line."""
    what = "try engines, publish, training, the death of an engine, resume and export on this machine, and write selfcheck.json"
    command = commands.add_parser(
        "selfcheck", help=what, description=what, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("config", nargs="?", help="a TOML file; default: the tiny mixture of experts")
    command.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings that replace the file's, in TOML syntax")
    command.add_argument("--full", action="store_true", help="the recipe's own model instead of a small one of its family")
    command.add_argument("--gpus", type=gpus, help="GPUs to use; default: those of this machine; 0 for its CPU cores")
    command.add_argument("--to", default="selfcheck.json", help="file to write (default: %(default)s)")
    command.add_argument("--inside", metavar="DIR", help="where its temporary folder goes; on several machines one that all of them share")
    command.add_argument("--keep", action="store_true", help="keep the temporary folder; without it only the logs of a failure stay")
    command.set_defaults(run=run_selfcheck)


def gpus(text: str) -> int:
    """A number of GPUs, from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text}, needed a whole number from 0, which is this machine's CPU cores")
    return int(text)


def refuse_folder(option: str, folder: Path) -> None:
    """Raise InputError where nothing can be written in a folder."""
    from configs.errors import InputError

    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise InputError(
            f"{option} {folder}: nothing can be written there ({error.strerror}): give a folder that can be written"
        ) from error


def refuse_file(option: str, file: Path) -> None:
    """Raise InputError where a file cannot be written: better now than after the runs whose result it is to hold."""
    from configs.errors import InputError

    if file.is_dir():
        raise InputError(f"{option} {file} is a folder, needed a file: give {option} {file / 'selfcheck.json'}")
    if file.exists() and not os.access(file, os.W_OK):
        raise InputError(f"{option} {file} cannot be written: give another file")
    if not file.exists():
        refuse_folder(option, file.parent)


def run_selfcheck(asked: argparse.Namespace) -> None:
    """Run it and print the table; SelfcheckFailed where a part failed, InputError where the recipe cannot be tried."""
    from configs.errors import InputError
    from configs.loader import load

    if asked.config is None and (asked.full or asked.overrides):
        raise InputError("--full and key=value belong to a config: name its TOML file before them")
    recipe = None if asked.config is None else load(asked.config, asked.overrides)
    to, inside = Path(asked.to).absolute(), Path(asked.inside).absolute() if asked.inside else None
    refuse_file("--to", to)
    if inside is not None:
        refuse_folder("--inside", inside)
    from cluster.commands.selfcheck.check import Wanted, selfcheck

    report = selfcheck(
        Wanted(
            recipe=recipe,
            named=asked.config or "tiny",
            full=asked.full,
            gpus=asked.gpus,
            inside=inside,
            keep=asked.keep,
        ),
        lambda line: print(line, flush=True),
    )
    report.write(to)
    print("\n" + "\n".join(report.table()))
    print(f"\n{len(report.rows)} parts in {report.seconds:.0f} s; {asked.to} is written: attach it to a report")
    if report.kept:
        print(f"the runs and their logs are in {report.kept}")
    if report.failed:
        raise SelfcheckFailed(f"{len(report.failed)} of {len(report.rows)} parts failed: {', '.join(row.part for row in report.failed)}")
