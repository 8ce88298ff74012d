"""The ledger of a run as it stood at one moment, in memory: no lock stays on the file, and a run at work never waits."""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cluster.record.audit.settings import Settings, settings_by_attempt
from cluster.record.ledger import refuse_newer
from configs.errors import GatewiseError, NoRun
from configs.schema import Config

TABLES = ("attempts", "groups", "steps")  # that every version has written
BUSY_S = 10.0
WHOLE = "('integer', 'null')"
KINDS = dict.fromkeys(
    ("pending", "settings", "prompt_id", "outcome", "weights", "sent", "kind", "who", "key", "before", "after"), "('text', 'null')"
)
KINDS["reward"] = "('real', 'integer', 'null')"


class Attempt(NamedTuple):
    """One start of the run. The groups are None in files of older versions."""

    attempt: int
    from_step: int
    next_group: int | None
    pending: frozenset[int] | None


class GroupRow(NamedTuple):
    """One handing out of a group."""

    group_id: int
    attempt: int
    prompt_id: str
    epoch: int
    engine: int | None
    outcome: str
    step: int | None
    reward: float | None
    unscored: int | None
    oldest: int | None
    newest: int | None
    tries: int
    life: int | None

    @property
    def stands(self) -> bool:
        return self.outcome in ("learned", "rejected")


class StepRow(NamedTuple):
    """One learned step."""

    step: int
    attempt: int
    undone: bool
    weights: str


class PublishRow(NamedTuple):
    """What one engine proved in one publish."""

    attempt: int
    publish: int
    version: int
    sent: str
    engine: int
    life: int
    weights: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """Every row of a ledger, in order."""

    attempts: Sequence[Attempt]
    groups: Sequence[GroupRow]  # by group, then attempt
    steps: Sequence[StepRow]  # by step, then attempt
    publishes: Sequence[PublishRow]
    events: Sequence[tuple[int, str, str]]  # attempt, kind, who
    changes: Sequence[tuple[int, str, str | None, str | None]]  # attempt, key, before, after
    settings: dict[int, Settings | None]

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def begun(self) -> tuple[int, bool]:
        """The newest attempt, or 0, and whether it has learned a step. Until then files may have lines that it will cut."""
        attempt = self.last.attempt if self.last else 0
        return attempt, any(row.attempt == attempt for row in self.steps)

    @property
    def begins(self) -> tuple[int, frozenset[int]]:
        """The step before the first one, and the groups that were settled before: of another run whose checkpoint this one continues."""
        first = self.attempts[0] if self.attempts else None
        if first is None or first.next_group is None or first.pending is None:
            return first.from_step if first else 0, frozenset()
        return first.from_step, frozenset(range(first.next_group)) - first.pending

    @cached_property
    def standing(self) -> list[int]:
        """The steps that stand, in rising order."""
        return [row.step for row in self.steps if not row.undone]

    @cached_property
    def older(self) -> list[int]:
        """The attempts that a version without publishes and positions in its ledger wrote."""
        return [attempt.attempt for attempt in self.attempts if attempt.next_group is None]


def read_account(path: Path, config: Config | None) -> Account:
    """The ledger in one snapshot; NoRun where the file is no ledger, CheckpointError where a newer version wrote it."""
    try:
        return _read(path, config)
    except (ValueError, TypeError) as error:  # of JSON in a column, and of what SQLite let through
        if isinstance(error, GatewiseError):
            raise
        raise NoRun(f"{path} is damaged ({error}): put a whole copy of it back") from error


def _read(path: Path, config: Config | None) -> Account:
    with snapshot(path) as db:
        attempts = [
            Attempt(attempt, from_step, next_group, None if pending is None else frozenset(json.loads(pending)))
            for attempt, from_step, next_group, pending in _rows(db, "attempts", "attempt from_step next_group pending", "attempt")
        ]
        columns = "group_id attempt prompt_id epoch engine outcome step reward unscored oldest_version newest_version tries life"
        changes = _rows(db, "changes", "attempt key before after", "attempt, key")
        return Account(
            attempts=attempts,
            groups=[GroupRow(*row) for row in _rows(db, "groups", columns, "group_id, attempt")],
            steps=[
                StepRow(step, attempt, bool(undone), weights or "")
                for step, attempt, undone, weights in _rows(db, "steps", "step attempt undone weights", "step, attempt")
            ],
            publishes=[
                PublishRow(*row)
                for row in _rows(db, "publishes", "attempt publish version sent engine life weights", "attempt, publish, engine")
            ],
            events=_rows(db, "events", "attempt kind who", "rowid"),
            changes=changes,
            settings=settings_by_attempt(config, dict(_rows(db, "attempts", "attempt settings", "attempt")), changes),
        )


def standing_steps(path: Path) -> tuple[tuple[int, bool], list[int]]:
    """`Account.begun` and the steps that stand, at this moment."""
    with reading(path) as db:
        (attempt,) = db.execute("SELECT coalesce(max(attempt), 0) FROM attempts").fetchone()
        (learned,) = db.execute("SELECT EXISTS (SELECT 1 FROM steps WHERE attempt = ?)", (attempt,)).fetchone()
        return (attempt, bool(learned)), [step for (step,) in db.execute("SELECT step FROM steps WHERE NOT undone ORDER BY step")]


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the ledger in memory, whole and of one moment. The file is let go before the copy is read."""
    with closing(sqlite3.connect(":memory:")) as copy:
        with reading(path) as db:
            db.backup(copy)
        with _readable(path):
            yield copy


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write; NoRun where the file is no ledger. It leaves nothing beside the file.

    Without a write-ahead log beside it nobody writes, and SQLite needs no files of its own. A log without its index, in a folder that
    cannot be written, is read from a copy.
    """
    if not path.is_file():
        raise NoRun(f"{path.parent} has no ledger.db: the run has not handed out a prompt yet, or the folder is no run.dir")
    if path.stat().st_size == 0:
        raise NoRun(f"{path} is empty: the run ended before its ledger was written, or a copy was cut off; put a whole copy back")
    with _readable(path), _opened(path) as db:
        _refuse_foreign(path, db)
        yield db


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into NoRun."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise NoRun(f"{path} is no ledger, or is damaged ({error}): give a run.dir whose ledger.db a run has written") from error


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    log = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if log.exists() else "immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_S)) as db:
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            if not log.exists():
                raise
        else:
            yield db
            return
    with tempfile.TemporaryDirectory() as folder:
        for part in (path, log):
            shutil.copy(part, folder)
        with closing(sqlite3.connect(Path(folder) / path.name)) as db:
            yield db


def _refuse_foreign(path: Path, db: sqlite3.Connection) -> None:
    refuse_newer(path, db)
    there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if lacking := [table for table in TABLES if table not in there]:
        raise NoRun(f"{path} is no ledger: it has no table {', '.join(lacking)}; give a run.dir whose ledger.db a run has written")


def _rows(db: sqlite3.Connection, table: str, columns: str, order: str) -> list[tuple]:  # type: ignore[type-arg]
    """The named columns of a table; NULL for those, and no rows for a table, that an older version did not write."""
    known = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
    if not known:
        return []
    named = ", ".join(name if name in known else "NULL" for name in columns.split())
    foreign = " OR ".join(f"typeof({name}) NOT IN {KINDS.get(name, WHOLE)}" for name in columns.split() if name in known)
    if wrong := db.execute(f"SELECT {named} FROM {table} WHERE {foreign} LIMIT 1").fetchone():
        raise sqlite3.DatabaseError(f"table {table} has a row {wrong}, which no run wrote")
    return db.execute(f"SELECT {named} FROM {table} ORDER BY {order}").fetchall()
