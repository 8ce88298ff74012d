"""`layers.jsonl`: metrics that have a value for every decoder layer, as lists, so that a line of `metrics.jsonl` stays readable."""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from cluster.record.metrics.lines import cut_lines, plain

KEY = re.compile(r"(.+)/layer_(\d+)")


class LayerMetrics:
    """The file of one run, created with its first line."""

    def __init__(self, folder: Path, from_step: int) -> None:
        self.path = folder / "layers.jsonl"
        cut_lines(self.path, from_step)
        self.file: IO[str] | None = None

    def write(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Write a line from all keys that end in `/layer_NN`; returns the other values."""
        found = {key: match for key in values if (match := KEY.fullmatch(key))}
        if found:
            self._write(step, {(match[1], int(match[2])): values[key] for key, match in found.items()})
        return {key: value for key, value in values.items() if key not in found}

    def _write(self, step: int, values: Mapping[tuple[str, int], float]) -> None:
        count = 1 + max(layer for _, layer in values)
        names = sorted({name for name, _ in values})
        lists = {name: [plain(values.get((name, layer), math.nan)) for layer in range(count)] for name in names}
        self.file = self.file or self.path.open("a")
        self.file.write(json.dumps({"step": step, **lists}) + "\n")
        self.file.flush()

    def flush(self) -> None:
        """Flush every line to disk."""
        if self.file is not None:
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
