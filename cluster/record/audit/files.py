"""The files of a run that have something of each step, as an audit reads them while the run may go on writing."""

import os
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.record.checkpoint import Position, read_position
from cluster.record.expert_log import ExpertLog
from cluster.record.metrics.sinks import METRICS
from configs.digits import read_long_json
from configs.errors import CheckpointError

OF_A_RESPONSE = ("group", "member", "prompt_id", "reward", "outcome")  # what is compared with the ledger; texts take too much memory
OF_AN_EPISODE = ("turns", "versions", "response")
DELETING_S = 0.05  # in which a checkpoint that is being deleted loses a file


@dataclass(slots=True, kw_only=True)
class Lines:
    """A file with an object a line. Only the last line of a killed or running run may be cut off."""

    name: str
    there: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # what is no line of it, each as a sentence

    @property
    def steps(self) -> list[int]:
        return [row["step"] for row in self.rows]


@dataclass(slots=True, kw_only=True)
class Saved:
    """One checkpoint; `position` is None where it is damaged."""

    name: str
    step: int  # by its name
    position: Position | None
    fault: str = ""


@dataclass(slots=True, kw_only=True)
class Files:
    """What lies in a run directory beside the ledger."""

    metrics: Lines
    layers: Lines
    experts: NDArray[np.int64] | None  # steps of experts.npz
    experts_fault: str
    responses: dict[int, Lines]  # by step
    checkpoints: list[Saved]


def read_files(folder: Path) -> Files:
    """Everything that an audit compares with the ledger, read once."""
    experts, fault = _read_experts(folder)
    return Files(
        metrics=read_by_step(folder / METRICS),
        layers=read_by_step(folder / "layers.jsonl"),
        experts=experts,
        experts_fault=fault,
        responses={
            int(path.stem[5:]): read_objects(path, ("group", "member"), OF_A_RESPONSE, OF_AN_EPISODE)
            for path in sorted(folder.glob("responses/step_*.jsonl"))
            if path.stem[5:].isdecimal()
        },
        checkpoints=list(filter(None, map(_read_checkpoint, sorted(folder.glob("checkpoints/step_*"))))),
    )


def read_by_step(path: Path) -> Lines:
    """A file with one object a step."""
    return read_objects(path, ("step",))


def read_objects(path: Path, needed: Sequence[str], kept: Sequence[str] = (), more: Sequence[str] = ()) -> Lines:
    """A file of objects with these keys, whole numbers all of them; of each object only `kept`, everything if that is empty.

    An object with all keys of `more` keeps those too.
    """

    def chosen(row: dict[str, Any]) -> dict[str, Any]:
        names = [*kept, *(more if all(name in row for name in more) else ())]
        return {key: row.get(key) for key in names} if kept else row

    found = Lines(name=path.name if needed == ("step",) else f"{path.parent.name}/{path.name}")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return found
    found.there = True
    *whole, tail = raw.split(b"\n")
    for number, line in enumerate(whole, start=1):
        row = _object(line, needed)
        if row is None:
            found.broken.append(f"{found.name} line {number} is no {'metrics' if needed == ('step',) else 'response'}: {line[:60]!r}")
        else:
            found.rows.append(chosen(row))
    if (row := _object(tail, needed)) is not None:  # the newline alone is missing
        found.rows.append(chosen(row))
    return found


def _object(line: bytes, needed: Sequence[str]) -> dict[str, Any] | None:
    try:
        row = read_long_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and all(type(row.get(key)) is int for key in needed) else None


def _read_experts(folder: Path) -> tuple[NDArray[np.int64] | None, str]:
    try:
        kept = ExpertLog(folder).read()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        return None, f"experts.npz cannot be read: {error}"
    return (None, "") if kept is None else (kept[0], "")


def _read_checkpoint(path: Path) -> Saved | None:
    """A checkpoint by its name; None for what a save or a resume left beside them, and for one that the run just deletes."""
    if not path.name[5:].isdecimal():
        return None
    step = int(path.name[5:])
    try:
        position = read_position(path)
        if all(type(number) is int for number in (position.step, position.next_group, *position.pending)):
            return Saved(name=path.name, step=step, position=position)
        fault = f"its position has {position.step}, {position.next_group}, {position.pending}, and they must be whole numbers"
    except (CheckpointError, OSError) as error:
        fault = str(error)
    before = len(os.listdir(path)) if path.is_dir() else 0
    time.sleep(DELETING_S)
    if not path.is_dir() or len(os.listdir(path)) < before:
        return None
    return Saved(name=path.name, step=step, position=None, fault=fault)
