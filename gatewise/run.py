"""A run as it lies on disk, finished or at work: config, metrics, responses, ledger, capsules, checkpoints."""

import sqlite3
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any

from cluster.commands.runs.summary import summary
from cluster.record.capsules.read import Capsule, NoCapsule, list_capsules, read_capsule
from cluster.record.checkpoint import Checkpoints
from cluster.record.metrics.lines import read_lines, step_files
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.sinks import METRICS
from configs.errors import InputError, NoRun
from configs.given import configured
from configs.home import expanded
from configs.schema import Config

READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


class Rows(list[dict[str, Any]]):
    """Rows with named columns; rows may lack columns."""

    def to_pandas(self) -> Any:
        """A pandas DataFrame; ImportError where pandas is not installed."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas, which is not installed: pip install pandas, or use the rows as they are") from error
        return pandas.DataFrame.from_records(list(self))


def raise_known(error: sqlite3.DatabaseError, path: Path) -> None:
    """Raise an InputError where the query would change something, and NoRun where the file is no ledger."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_AUTH or "not authorized" in str(error):
        raise InputError(f"{path} is only read: give a SELECT, without ATTACH or PRAGMA") from error
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        raise NoRun(f"{path} is no ledger, or is damaged ({error}): give a run.dir whose ledger.db a run has written") from error


class Run:
    """One run directory. Every attribute is read from disk when it is asked for, so a run at work can be watched."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        """NoRun if the folder holds no run."""
        self.dir = expanded(folder).absolute()
        if not (self.dir / "config.toml").is_file():
            what = "holds no run: it has no config.toml" if self.dir.is_dir() else "is no folder"
            raise NoRun(f"{self.dir} {what}; give the run.dir of a run that has started")

    @property
    def config(self) -> Config:
        """The resolved config; its run.dir is the folder where the run lies now."""
        return configured(self.dir / "config.toml", {"run.dir": self.dir})

    @property
    def metrics(self) -> Rows:
        """A row for each step, the keys of docs/metrics.md; step 0 is the evaluation before training."""
        return Rows(read_metrics(self.dir) if (self.dir / METRICS).is_file() else [])

    def responses(self, step: int | None = None) -> Rows:
        """The saved responses of a step, or of all steps, each with its "step", prompt, reference, verdict and text."""
        files = [(at, path) for at, path in step_files(self.dir / "responses") if step in (None, at)]
        return Rows({"step": at, **row} for at, path in files for row in read_lines(path))

    def ledger(self, query: str, *values: object) -> Rows:
        """The rows of an SQL query on the ledger, which it cannot change; `values` fill its question marks."""
        path = self.dir / "ledger.db"
        if not path.is_file():
            raise NoRun(f"{self.dir} has no ledger.db: the run has not started an engine yet")
        # Without a log beside it nobody writes: SQLite then needs no files of its own, which a folder may forbid.
        mode = "mode=ro" if path.with_name("ledger.db-wal").exists() else "immutable=1"
        with closing(sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True)) as db:
            db.row_factory = sqlite3.Row
            db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY)
            try:
                return Rows(dict(row) for row in db.execute(query, values))
            except sqlite3.DatabaseError as error:
                raise_known(error, path)
                raise

    def capsule(self, step: int | None = None) -> Capsule:
        """What a step was learned from, token by token, by default the newest kept; NoCapsule where there is none, or it is not whole.

        A step that was learned again, after a resume or a rollback, may have several: the last one counts.
        """
        kept = self.capsules
        of_step = kept if step is None else [folder for folder in kept if _step_of(folder) == step]
        if not of_step:
            steps = ", ".join(map(str, sorted({_step_of(folder) for folder in kept})))
            there = f"no capsule of step {step}, but of {steps}: give one of these" if kept else "no capsule: run.capsule_every keeps some"
            raise NoCapsule(f"{self.dir} holds {there}")
        return read_capsule(max(of_step, key=lambda folder: (_step_of(folder), len(folder.name), folder.name)))

    @property
    def capsules(self) -> list[Path]:
        """The folders of the run's capsules, by their steps."""
        return list_capsules(self.dir)

    @property
    def checkpoints(self) -> list[Path]:
        """The complete checkpoints, oldest first."""
        return Checkpoints(self.config).whole()

    @property
    def summary(self) -> str:
        """The last lines of a run: reward from first to last step, speed, held-out correctness before and after."""
        return "\n".join(summary(self.dir)) if (self.dir / METRICS).is_file() else f"run      {self.dir}\nno step yet"

    def __repr__(self) -> str:
        done = max((int(row["step"]) for row in self.metrics), default=0)
        return f"Run({str(self.dir)!r}, {done} of {self.config.run.steps} steps)"


def _step_of(capsule: Path) -> int:
    """The step in a name such as "step_000012.1"."""
    return int(capsule.name.removeprefix("step_").partition(".")[0])


def load_run(folder: str | PathLike[str]) -> Run:
    """The run in a folder; NoRun if it holds none."""
    return Run(folder)
