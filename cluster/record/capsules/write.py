"""Writes a capsule: every rank its own rows, the driver the rest and, last of all, `capsule.json`.

A capsule is written under a hidden name and renamed when it is whole, so a run that is killed meanwhile leaves none that is cut short.
"""

import shutil
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from cluster.models.recorded import recorded
from cluster.record.capsules.files import CONFIG, GROUPS, Arrays, rank_file, write_head, write_tensors, write_whole
from cluster.record.capsules.read import FORMAT
from cluster.record.metrics.lines import plain
from cluster.record.saves.replace import flush
from configs.arithmetic import GB
from configs.digits import write_long_json
from configs.loader import dump
from configs.schema import Config
from configs.version import VERSION

FOLDER = "capsules"  # in run.dir
DUE = "due"  # the reason of a capsule that only `run.capsule_every` asked for


class Trace(Protocol):
    """What a rank learned in its last step."""

    entropy_coefficient: float
    norms: list[float | None]

    def arrays(self) -> Arrays:
        """The rows, as `read` says."""


def write_rank(folder: Path, rank: int, ranks: int, trace: Trace, room: int) -> dict[str, Any]:
    """Write one rank's file. Its name, size and hash, and the numbers that all ranks know; `error` says why there is none.

    The disk must keep `room` bytes free beside the files of all ranks, which are taken to be as large as this one.
    """
    try:
        arrays = trace.arrays()
        needed = room + ranks * sum(values.nbytes for values in arrays.values())
        free = shutil.disk_usage(folder).free
        if free < needed:
            return {"error": f"the disk has {free / GB:.2f} GB free, and {needed / GB:.2f} GB are needed with room for a checkpoint"}
        entry = write_tensors(folder / rank_file(rank), arrays)
    except OSError as error:
        return {"error": f"rank {rank}: {error.strerror or error}"}
    return {"name": rank_file(rank), "entry": entry, "norms": trace.norms, "entropy_coefficient": trace.entropy_coefficient}


def begin(run_dir: Path, step: int) -> Path:
    """An empty folder for a capsule that is being written; whatever an earlier try left is removed."""
    aside = run_dir / FOLDER / f".step_{step:06d}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    return aside


def finish(
    aside: Path,
    config: Config,
    *,
    step: int,
    reasons: Sequence[str],
    metrics: Mapping[str, float],
    groups: Sequence[Mapping[str, Any]],
    ranks: Sequence[Mapping[str, Any]],
) -> Path:
    """Add what the driver knows to the ranks' files, and give the capsule its name; OSError where the disk is full."""
    files = {of_rank["name"]: of_rank["entry"] for of_rank in ranks}
    files[CONFIG] = write_whole(aside / CONFIG, dump(recorded(config)).encode())
    files[GROUPS] = write_whole(aside / GROUPS, write_long_json(groups, default=str).encode())
    head = {
        "format": FORMAT,
        "gatewise": VERSION,
        "step": step,
        "reasons": list(reasons),
        "ranks": len(ranks),
        "entropy_coefficient": ranks[0]["entropy_coefficient"],
        "norms": [None if norm is None else plain(norm) for norm in ranks[0]["norms"]],
        "metrics": {name: plain(value) for name, value in sorted(metrics.items())},
        "files": {name: files[name] for name in sorted(files)},
    }
    write_head(aside, head)
    folder = unused(aside.parent, step)
    aside.rename(folder)
    flush(folder.parent)
    return folder


def unused(parent: Path, step: int) -> Path:
    """The name of a step's capsule. A step that was learned again, after a resume, does not replace what it was before."""
    names = (f"step_{step:06d}{f'.{number}' if number else ''}" for number in count())
    return next(path for name in names if not (path := parent / name).exists())
