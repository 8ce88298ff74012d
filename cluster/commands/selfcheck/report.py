"""The result of a selfcheck: a table for people, and `selfcheck.json` to attach to a report."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.commands.doctor.installed import CORE, version_of
from cluster.commands.selfcheck.rows import Row, Status
from configs.version import VERSION

SCHEMA = 1  # raised when a key of selfcheck.json changes its meaning or goes away
TITLES = ("part", "status", "seconds", "numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that selfcheck.json holds."""

    recipe: str  # the config file as it was given, or "tiny"
    full: bool
    device: str  # "cpu" or "gpu"
    devices: Sequence[Mapping[str, str | float]]  # name, memory and driver of each GPU
    model: Mapping[str, Any]  # its config.json
    changed: Sequence[str]  # what differs from the recipe
    config: Mapping[str, Any]
    rows: Sequence[Row]
    seconds: float
    kept: str = ""  # the folder of the runs, where something failed

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.status is Status.FAIL]

    def table(self) -> list[str]:
        """The lines of the table, with causes and stand-ins below their parts."""
        cells = [TITLES, *((row.title, str(row.status), f"{row.seconds:.1f}", describe(row.numbers)) for row in self.rows)]
        widths = [max(len(line[place]) for line in cells) for place in range(len(TITLES) - 1)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip() for line in cells]
        told = [lines[0]]
        for row, line in zip(self.rows, lines[1:], strict=True):
            told.append(line)
            told += [f"    {row.cause}"] if row.cause else []
            told += [f"    here: {row.stand_in}"] if row.stand_in else []
        return told

    def as_json(self) -> dict[str, Any]:
        """The content of selfcheck.json. It names no host and no user, but for paths that the config holds."""
        return {
            "schema": SCHEMA,
            "passed": not self.failed,
            "gatewise": VERSION,
            "versions": {"python": platform.python_version(), **{name: found for name in CORE if (found := version_of(name))}},
            "device": self.device,
            "devices": list(self.devices),
            "machine": {"architecture": platform.machine(), "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release()},
            "recipe": self.recipe,
            "full": self.full,
            "changed": list(self.changed),
            "model": dict(self.model),
            "config": dict(self.config),
            "rows": [{**asdict(row), "numbers": dict(row.numbers)} for row in self.rows],
            "seconds": round(self.seconds, 1),
        }

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def describe(numbers: Mapping[str, float | str]) -> str:
    """Numbers in one line, each with its name."""
    return ", ".join(f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in numbers.items())
