"""The checks on the other nodes of a cluster: what each node finds, whether it sees `run.dir`, and how far its clock is off."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cluster.actors.nodes.other_nodes import on_other_nodes
from cluster.commands.checks.folder import nearest
from cluster.commands.doctor.checks.disks import run_dir
from cluster.commands.doctor.diagnosis import Diagnosis
from cluster.commands.doctor.subject import Subject
from cluster.commands.doctor.table import CHECKS, examine
from configs.errors import in_one_line
from configs.schema import Config

ANSWER_S = 60.0  # a node's first task starts a Python
SKEW_S = 2.0  # logs of two nodes are in order within it


def examine_nodes(config: Config | None) -> Iterator[Diagnosis]:
    """What every node of RAY_ADDRESS finds, but the driver's own, which has been looked at."""
    folder, began = nearest(run_dir(Subject(config=config))), time.time()
    try:
        with tempfile.NamedTemporaryFile(prefix=".gatewise-doctor-", dir=folder) as mark:
            answers = on_other_nodes(examine_here, config, mark.name, limit_s=ANSWER_S)
    except (OSError, RuntimeError, ValueError) as failed:
        said = in_one_line(f"{type(failed).__name__}: {failed}")
        do = "take the cluster's token and its versions of Ray and Python, or start this command there (`ray job submit`)"
        yield Diagnosis(name="node", status="error", found=f"the nodes of the cluster could not be asked ({said})", do=do)
        return
    for address, answer in answers.items():
        if isinstance(answer, Exception):
            said = in_one_line(f"{type(answer).__name__}: {str(answer).strip().splitlines()[-1]}")
            do = "install Gatewise on that node, or submit with `ray job submit --working-dir .`"
            yield Diagnosis(name="node", status="error", found=f"could not look at itself ({said})", do=do, node=address)
        else:
            there, clock, sees = answer
            yield from (replace(one, node=address) for one in there)
            yield clock_of(address, clock, began, time.time())
            yield shared(address, folder, sees=sees)


def examine_here(config: Config | None, mark: str) -> tuple[list[Diagnosis], float, bool]:
    """On a node: what it finds, its clock, and whether it sees the driver's file."""
    checks = [check for check in CHECKS if check.of_nodes]
    return examine(Subject(config=config, joins=True), checks), time.time(), Path(mark).exists()


def clock_of(address: str, theirs: float, began: float, ended: float) -> Diagnosis:
    """A node's clock against the driver's, which showed `began` before the node was asked and `ended` after all had answered."""
    off = max(began - theirs, theirs - ended)
    if off > SKEW_S:
        said = f"the clock is at least {off:.0f} s {'behind' if theirs < began else 'ahead of'} the driver's"
        return Diagnosis(name="clock", status="warning", found=said, do="synchronise it (chrony, ntpd)", node=address)
    return Diagnosis(name="clock", status="ok", found="as the driver's", do="", node=address)


def shared(address: str, folder: Path, *, sees: bool) -> Diagnosis:
    """Whether a node sees what the driver writes beside run.dir."""
    if sees:
        return Diagnosis(name="shared path", status="ok", found=f"sees {folder}", do="", node=address)
    said = f"does not see the driver's files in {folder}, where run.dir lies"
    return Diagnosis(
        name="shared path", status="error", found=said, do="choose a run.dir on a file system that all nodes mount", node=address
    )
