"""The audit of a run with its rewards scored again."""

from collections.abc import Callable
from pathlib import Path

from cluster.commands.audit.rescored import rescore
from cluster.record.audit.audit import check, config_of_run, read_run
from cluster.record.audit.invariant import Invariant


def audit_run(folder: Path, *, again: bool, progress: Callable[[int, int], None]) -> list[Invariant]:
    """Every invariant of the run in a folder; with `again`, kept responses are scored once more. NoRun where there is no run."""
    read = read_run(folder, config_of_run(folder))
    found = check(*read)
    rewards = next(one for one in found if one.name == "rewards")
    if again:
        rescore(folder, read[0], rewards, progress)
    else:
        rewards.unchecked.append("nothing was scored again, as asked for")
    return found
