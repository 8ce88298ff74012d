"""The command `gatewise audit`: whether a run lost nothing, learned nothing twice, and used the weights and rewards that it says."""

import argparse
import json
import sys
from typing import Any

from cluster.record.progress.harmless import say
from configs.arithmetic import counted
from configs.errors import InputError
from configs.home import expanded

EPILOG = """
  gatewise audit runs/first                 every invariant with its count; rewards are scored again
  gatewise audit runs/first --no-rescore    from the files alone, in seconds
  gatewise audit runs/first --json          for machines

It reads a run at work, a killed one or a finished one. It writes nothing, takes no lock, starts no Ray and needs no GPU.
Exit status: 0 everything holds, 1 something is violated, 2 there is no run that can be read.
"""


class InvariantViolated(ValueError):
    """The audit found violations, which are printed above."""


def add_audit(commands: Any) -> None:
    """Add `audit` to the command line."""
    what = "prove from a run's files that no prompt was lost or learned twice, whatever happened to it"
    command = commands.add_parser(
        "audit", help=what, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("run_dir", metavar="RUN", help="run.dir of a run, at work or not")
    command.add_argument("--no-rescore", action="store_true", help="do not score the kept responses again")
    command.add_argument("--json", action="store_true", help="print one JSON object with all violations")
    command.add_argument("--all", action="store_true", help="list every violation, not the first ones of each invariant")
    command.set_defaults(run=run_audit)


def run_audit(asked: argparse.Namespace) -> None:
    """Print every invariant; InvariantViolated where one does not hold, exit status 2 where there is no run to read."""
    from cluster.commands.audit.whole import audit_run
    from cluster.commands.rewards.cli import progress

    try:
        found = audit_run(expanded(asked.run_dir), again=not asked.no_rescore, progress=progress("responses"))
    except (InputError, OSError) as error:
        print(f"gatewise: {error}", file=sys.stderr)
        sys.exit(2)
    violated = [one for one in found if not one.holds]
    if asked.json:
        print(json.dumps({"run": asked.run_dir, "holds": not violated, "invariants": [one.as_json() for one in found]}))
    else:
        for one in found:
            say("\n".join(one.lines(len(one.violations) if asked.all else 5)))
    if violated:
        raise InvariantViolated(
            f"{counted(sum(len(one.violations) for one in violated), 'violation')} of {', '.join(one.name for one in violated)}: "
            "docs/audit.md says what each means"
        )
