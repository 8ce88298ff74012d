"""The command `gatewise replay`: one step of a run computed again from its capsule, on any CPU."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cluster.record.progress.harmless import say
from configs.home import expanded

if TYPE_CHECKING:
    from cluster.commands.replay.found import Check  # imports numpy, which the command line does without

SHOWN = 20
WIDTH = 11  # of the names of checks
OF_THE_MODEL = {"log-probs", "gradient"}  # checks that depend on the folder of `--model`

EPILOG = """
A run keeps a capsule every run.capsule_every steps, and where an update is dropped or spikes or an alarm is raised.

  gatewise replay runs/first/capsules/step_000012
  gatewise replay runs/first/capsules/step_000012 --model step_11     the weights that step 12 began with, as a Hugging Face folder

It exits 1 where a number differs or a file of the capsule was changed, and says which. It needs neither Ray, vLLM nor a GPU.
"""


class ReplayDiffers(ValueError):
    """The replay found differences, which are printed above."""


def add_replay(commands: Any) -> None:
    """Add `replay` to the command line."""
    what = "compute a step again from its capsule: rewards, advantages, token weights and loss"
    command = commands.add_parser(
        "replay", help=what, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("capsule", metavar="CAPSULE", help="a folder of RUN/capsules")
    command.add_argument("--model", metavar="FOLDER", help="log-probs and gradient too, from the weights before the step")
    command.add_argument("--all", action="store_true", help=f"list everything that differs, not the first {SHOWN} of each kind")
    command.set_defaults(run=run_replay)


def run_replay(asked: argparse.Namespace) -> None:
    """Print what was compared; ReplayDiffers where something differs."""
    from cluster.commands.replay.replay import replay

    if asked.model is not None:
        from transformers.utils import logging

        logging.disable_progress_bar()
    found = replay(expanded(asked.capsule), None if asked.model is None else expanded(asked.model))
    capsule = found.capsule
    say(f"{'capsule':<{WIDTH}}{capsule.folder}: step {capsule.step} (Gatewise {capsule.version}), kept because: {capsule.reason}")
    say(f"{'files':<{WIDTH}}{'; '.join(map(str, capsule.damage)) or 'all as the run wrote them'}")
    for check in found.checks:
        say(f"{check.name:<{WIDTH}}{check.line}")
        show(check, asked.all)
    if asked.model is None:
        print(f"{'model':<{WIDTH}}not computed again: --model FOLDER, with the weights of step {capsule.step - 1}")
    if found.differs:
        raise ReplayDiffers(verdict(found.checks, [one.name for one in capsule.damage]))


def show(check: "Check", everything: bool) -> None:
    """List what differs, only the first lines unless `everything`."""
    shown = check.different if everything else check.different[:SHOWN]
    for line in shown:
        say(f"  {line}")
    if len(shown) < len(check.different):
        print(f"  … and {len(check.different) - len(shown)} more: --all lists them")


def verdict(checks: "Sequence[Check]", changed: Sequence[str]) -> str:
    """What is wrong, in a line."""
    wrong = [check.name for check in checks if check.different]
    if changed:
        seen = f"; not as recorded: {', '.join(wrong)}" if wrong else "; no number that was computed again differs by more than rounding"
        return f"{', '.join(changed)} was changed since the run wrote it{seen}: copy the capsule again"
    if set(wrong) <= OF_THE_MODEL:
        return f"not as recorded: {', '.join(wrong)}; all other numbers are: give --model the weights before the step, not those after it"
    return (
        f"not as recorded: {', '.join(wrong)}; the files are as the run wrote them: the code or a checker was changed since the run, or is "
        "no function of its arguments"
    )
