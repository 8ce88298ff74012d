"""`layers.jsonl`: metrics that have a value for every decoder layer, as lists, so that a line of `metrics.jsonl` stays readable."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from cluster.record.metrics.lines import LineFile, cut_lines, plain

KEY = re.compile(r"(.+)/layer_(\d+)")


class LayerMetrics:
    """The file of one run, created with its first line."""

    def __init__(self, folder: Path, from_step: int) -> None:
        self.path = folder / "layers.jsonl"
        cut_lines(self.path, from_step)
        self.file = LineFile(self.path)

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
        self.file.add({"step": step, **lists})

    def flush(self) -> None:
        """Flush every line to disk."""
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()
