"""What the files of a run have that a tracker has not, read again and again while the run works."""

import json
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from cluster.record.metrics.lines import is_number, step_files
from cluster.record.metrics.sinks import METRICS
from cluster.record.metrics.trackers.tracker import Row

LAYERS = "layers.jsonl"
HEALTH = ("health.jsonl", "warnings.jsonl")  # the second name is that of older runs
PICTURES = ("reward.png", "experts.png")


class Tail:
    """The lines of one file of JSON objects, each given once; all of them again where the file was cut or replaced."""

    def __init__(self, path: Path) -> None:
        self.path, self.inode, self.offset = path, 0, 0

    def read(self) -> list[dict[str, Any]]:
        """The new whole lines; a line that is half-written, or no object, is passed over."""
        try:
            with self.path.open("rb") as file:
                found = self.path.stat()
                if found.st_ino != self.inode or found.st_size < self.offset:
                    self.inode, self.offset = found.st_ino, 0
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data.rfind(b"\n") + 1
        self.offset += whole
        return list(objects(data[:whole]))


def objects(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file's lines."""
    for line in data.split(b"\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


class RunRecord:
    """The files of one run directory, as a tracker follows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps, self.layers = Tail(folder / METRICS), Tail(folder / LAYERS)
        self.values: dict[int, dict[str, float]] = {}  # read and not forgotten, by step
        self.newest = -1  # step of metrics.jsonl

    def config(self) -> dict[str, Any]:
        """The resolved config, as the run recorded it."""
        return tomllib.loads((self.folder / "config.toml").read_text(encoding="utf-8"))

    def attempts(self) -> list[tuple[int, int]]:
        """Number and first checkpoint's step of every attempt; none where the ledger cannot be read at this moment."""
        path = self.folder / "ledger.db"
        mode = "mode=ro" if path.with_name("ledger.db-wal").exists() else "immutable=1"
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as db:
                return list(db.execute("SELECT attempt, from_step FROM attempts ORDER BY attempt"))
        except sqlite3.Error:
            return []

    def read(self) -> None:
        """Take in what is new of the numbers. A step's layers are written before its line, so they are read after it."""
        rows = [row for row in self.steps.read() if type(row.get("step")) is int]
        for row in rows:
            self.newest = row["step"]
            self.values[row["step"]] = {key: value for key, value in row.items() if key != "step" and is_number(value)}
        for row in self.layers.read():
            if row.get("step") in self.values:
                self.values[row["step"]] |= by_layer(row)

    def start_over(self) -> None:
        """Forget everything, and read the files from their beginning."""
        self.steps, self.layers = Tail(self.steps.path), Tail(self.layers.path)
        self.values, self.newest = {}, -1

    def after(self, step: int) -> list[tuple[int, dict[str, float]]]:
        """The steps after `step` that were read, in order; earlier ones are forgotten."""
        self.values = {at: values for at, values in self.values.items() if at > step}
        return sorted(self.values.items())

    def texts(self, after: int, until: int) -> list[tuple[int, Path]]:
        """Steps of `responses/` with their files, in order."""
        return [(step, path) for step, path in step_files(self.folder / "responses") if after < step <= until]

    def health(self) -> list[dict[str, Any]]:
        """Every line that says that something begins, in order."""
        for name in HEALTH:
            if (path := self.folder / name).exists():
                return [row for row in objects(path.read_bytes()) if row.get("event") == "begins" and type(row.get("step")) is int]
        return []

    def pictures(self) -> dict[str, tuple[Path, int]]:
        """The pictures that there are, each with the time at which it was drawn."""
        found = {path.stem: path for name in PICTURES if (path := self.folder / name).exists()}
        return {name: (path, path.stat().st_mtime_ns) for name, path in found.items()}


def by_layer(row: Row) -> dict[str, float]:
    """The values of a line of `layers.jsonl` under the keys that the run gave them."""
    lists = {name: values for name, values in row.items() if isinstance(values, list)}
    return {f"{name}/layer_{layer:02d}": value for name, values in lists.items() for layer, value in enumerate(values) if is_number(value)}


def said(row: Row) -> str:
    """A line of the health file as one text."""
    seen, advice = row.get("seen", row.get("message", "")), row.get("advice", "")
    return f"{row.get('rule', row.get('warning', ''))}: {seen}" + (f": {advice}" if advice else "")
