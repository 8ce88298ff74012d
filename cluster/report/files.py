"""A run's files as the pages of a report read them: each is read once, when it is first asked for, and any may be missing or damaged."""

import sqlite3
import tomllib
import zipfile
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.record.expert_log import ExpertLog, History
from cluster.record.metrics.lines import step_files
from cluster.record.metrics.sinks import METRICS
from cluster.record.run_dir import WRITTEN_BY
from cluster.record.scaling.asking import is_locked
from cluster.report.lines import Row, number, read_rows, read_steps
from configs.errors import InputError, NoRun

Curve = tuple[list[int], list[float]]  # steps and finite values
EXPECTED = ("config.toml", METRICS, "responses", "ledger.db")  # a report says which of them a run lacks
OLD_HEALTH = "warnings.jsonl"


class RunFiles:
    """One run directory, at work or not."""

    def __init__(self, folder: Path, *, ended: bool = False) -> None:
        """NoRun if the folder holds no run. `ended`: the run's own driver asks for its last report, and still holds the lock."""
        self.folder, self.ended = folder, ended
        if not any((folder / name).is_file() for name in ("config.toml", METRICS)):
            what = f"holds no run: it has neither config.toml nor {METRICS}" if folder.is_dir() else "is no folder"
            raise NoRun(f"{folder} {what}; give the run.dir of a run that has started")

    @property
    def name(self) -> str:
        return self.folder.absolute().name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config as tables; empty where it cannot be read."""
        try:
            return tomllib.loads((self.folder / "config.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    @cached_property
    def version(self) -> str | None:
        """The version of Gatewise that wrote the config last; None in a run of 0.10 or before."""
        try:
            with (self.folder / "config.toml").open(encoding="utf-8", errors="replace") as file:
                first = file.readline()
        except OSError:
            return None
        return first.removeprefix(WRITTEN_BY).strip() if first.startswith(WRITTEN_BY) else None

    def key(self, name: str) -> Any:
        """The value of a key such as "run.steps"; None where the config lacks it."""
        section, _, key = name.partition(".")
        table = self.config.get(section)
        return table.get(key) if isinstance(table, dict) else None

    @cached_property
    def metrics(self) -> list[Row]:
        """The lines of `metrics.jsonl` by step; step 0 is the evaluation before training."""
        return read_steps(self.folder / METRICS)

    @cached_property
    def keys(self) -> set[str]:
        """The keys that have a number in some step."""
        return {key for row in self.metrics for key, value in row.items() if number(value) is not None} - {"step"}

    def curve(self, key: str) -> Curve:
        """Steps and values of a metric, without steps that lack it."""
        found = [(row["step"], value) for row in self.metrics if (value := number(row.get(key))) is not None]
        return [step for step, _ in found], [value for _, value in found]

    @cached_property
    def layers(self) -> list[Row]:
        """The lines of `layers.jsonl`: every key but `step` has a list with a value for each decoder layer."""
        return read_steps(self.folder / "layers.jsonl")

    @cached_property
    def health(self) -> list[Row]:
        """The lines of `health.jsonl`, or of `warnings.jsonl` in a run of an older version, in the order in which they were written."""
        name = "health.jsonl" if (self.folder / "health.jsonl").exists() else OLD_HEALTH
        return [row for row in read_rows(self.folder / name) if type(row.get("step")) is int]

    @cached_property
    def experts(self) -> History | None:
        """Steps [N] and tokens of each expert [N, L, E]; None for a dense model and for a damaged file."""
        try:
            history = ExpertLog(self.folder).read()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        fits = history is not None and history[1].ndim == len(("steps", "layers", "experts")) and len(history[0]) == len(history[1])
        return history if fits and history is not None and history[1].size else None

    @property
    def timeline(self) -> Path:
        return self.folder / "timeline.jsonl"

    @cached_property
    def capsules(self) -> list[Path]:
        """The capsules, oldest first."""
        return sorted(path.parent for path in self.folder.glob("capsules/*/capsule.json"))

    def texts(self, folder: str = "responses") -> list[tuple[int, Path]]:
        """The steps whose texts a folder keeps, with their files; `read_rows` reads one."""
        return step_files(self.folder / folder)

    def ledger(self, query: str, *values: object) -> list[Row]:
        """The rows of an SQL query on the ledger; none where it is missing, damaged, or older than a table or column of the query."""
        path = self.folder / "ledger.db"
        if not path.is_file():
            return []
        # Without a log beside it nobody writes: SQLite then needs no files of its own, which a folder may forbid.
        mode = "mode=ro" if path.with_name("ledger.db-wal").exists() else "immutable=1"
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as db:
                db.row_factory = sqlite3.Row
                return [dict(row) for row in db.execute(query, values)]
        except sqlite3.DatabaseError:
            return []

    @property
    def step(self) -> int:
        """The newest step on record."""
        return max((row["step"] for row in self.metrics), default=0)

    @property
    def steps(self) -> int | None:
        """How many steps the run shall have."""
        wanted = self.key("run.steps")
        return wanted if type(wanted) is int else None

    @cached_property
    def state(self) -> str:
        """ "at work", "finished", "not running", or "unknown" where the file system cannot say."""
        try:
            if not self.ended and is_locked(self.folder):
                return "at work"
        except (InputError, OSError):
            return "unknown"
        return "finished" if self.steps is not None and self.step >= self.steps else "not running"

    @property
    def missing(self) -> list[str]:
        """Files that every run of this version has once it trains, and that are not there."""
        return [name for name in EXPECTED if not (self.folder / name).exists()]


def open_runs(folders: Sequence[Path], *, ended: bool = False) -> list[RunFiles]:
    """The runs of a report, in the order given, each once; NoRun for a folder without one."""
    unique = {folder.absolute().resolve(): folder for folder in folders}
    return [RunFiles(folder, ended=ended) for folder in unique.values()]
