"""The run's account book: every prompt submitted, the outcome of its group, and the step that learned it.

SQLite in `ledger.db`. A group is learned at most once, which the schema itself enforces. A group that was learned after the last checkpoint
of a run that died is marked `undone` on resume, and submitted again under the next attempt.

    submitted ──► learned (step) | rejected        both are final, but for a crash: ──► undone

`publishes` has a row for each engine and publish: what the learner sent, and what the engine proved to have. `events` is the witness of
what happened to engines and ranks. `rollbacks` has a row for each spike after which the run went back, with the share of the learning rate
that it goes on with. `gatewise audit` compares all of it.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from cluster.record.saves.backlog import Backlog, waits_for_room
from configs.errors import CheckpointError

END = "end"  # the kind of event with which an attempt ends; who: "finished", "stopped" or "failed". A killed driver leaves none
VERSION = 1  # PRAGMA user_version of the file; 0 in those of Gatewise 0.8 and before
SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    attempt INTEGER PRIMARY KEY, started REAL NOT NULL, from_step INTEGER NOT NULL, next_group INTEGER, pending TEXT, settings TEXT
);
CREATE TABLE IF NOT EXISTS groups (
    group_id INTEGER NOT NULL, attempt INTEGER NOT NULL REFERENCES attempts, prompt_id TEXT NOT NULL, epoch INTEGER NOT NULL,
    engine INTEGER, outcome TEXT NOT NULL DEFAULT 'submitted'
        CHECK (outcome IN ('submitted', 'learned', 'rejected', 'undone')),
    reason TEXT, unscored INTEGER, step INTEGER, reward REAL, oldest_version INTEGER, newest_version INTEGER,
    tries INTEGER NOT NULL DEFAULT 1, life INTEGER,
    PRIMARY KEY (group_id, attempt), CHECK ((outcome = 'learned') <= (step IS NOT NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS learned_once ON groups (group_id) WHERE outcome IN ('learned', 'rejected');
CREATE TABLE IF NOT EXISTS steps (
    step INTEGER NOT NULL, attempt INTEGER NOT NULL REFERENCES attempts, finished REAL NOT NULL, undone INTEGER NOT NULL DEFAULT 0,
    weights TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (step, attempt)
);
CREATE TABLE IF NOT EXISTS changes (
    attempt INTEGER NOT NULL REFERENCES attempts, key TEXT NOT NULL, before TEXT, after TEXT, PRIMARY KEY (attempt, key)
);
CREATE TABLE IF NOT EXISTS publishes (
    attempt INTEGER NOT NULL REFERENCES attempts, publish INTEGER NOT NULL, version INTEGER NOT NULL, sent TEXT NOT NULL,
    engine INTEGER NOT NULL, life INTEGER NOT NULL, weights TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (attempt, publish, engine)
);
CREATE TABLE IF NOT EXISTS events (
    attempt INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS rollbacks (
    attempt INTEGER NOT NULL, at REAL NOT NULL, step INTEGER NOT NULL, back_to INTEGER NOT NULL, rate REAL NOT NULL, text TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS step_once ON steps (step) WHERE NOT undone;
CREATE TRIGGER IF NOT EXISTS settled_once BEFORE UPDATE OF outcome ON groups
    WHEN OLD.outcome != 'submitted' AND NEW.outcome != 'undone'
    BEGIN SELECT RAISE(ABORT, 'a group that was settled cannot be settled again'); END;
"""
# Columns that files of older versions lack; NULL in their rows.
ADDED = {"groups": {"unscored": "INTEGER", "life": "INTEGER"}, "attempts": {"next_group": "INTEGER", "pending": "TEXT", "settings": "TEXT"}}


class Proven(NamedTuple):
    """What an engine proved to have after a publish. `life` counts the replacements in its place."""

    engine: int
    life: int
    weights: str  # fingerprint


class Submitted(NamedTuple):
    """A group that is handed to the engines."""

    group_id: int
    prompt_id: str
    epoch: int


class Account(NamedTuple):
    """A learned group."""

    group_id: int
    engine: int
    reward: float  # mean of what was scored
    unscored: int  # responses without a reward
    oldest_version: int
    newest_version: int
    life: int = 0  # of the engine


class Ledger:
    """Writes the account of one attempt at a run; the file holds those of all attempts."""

    def __init__(self, path: Path) -> None:
        """CheckpointError where a newer version wrote the file, or where SQLite cannot keep its write-ahead log beside it."""
        self.db = sqlite3.connect(path, isolation_level=None)
        refuse_newer(path, self.db)
        (mode,) = self.db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode not in ("wal", "memory"):
            raise CheckpointError(
                f"{path} lies on a file system where SQLite has no write-ahead log (journal mode {mode}), so nobody could read the ledger "
                "of a run at work: choose a run.dir on a disk of this machine, or mount the file system with locks"
            )
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.executescript(SCHEMA)
        for table, columns in ADDED.items():
            known = {column for _, column, *_ in self.db.execute(f"PRAGMA table_info({table})")}
            for name, kind in columns.items():
                if name not in known:
                    self.db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
        self.db.execute(f"PRAGMA user_version = {VERSION}")
        self.attempt = 0
        self.backlog = Backlog()

    def begin(
        self,
        from_step: int,
        next_group: int,
        pending: Sequence[int],
        changes: Iterable[tuple[str, object, object]] = (),
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Open an attempt that continues after `from_step`: later steps are undone, and `pending` groups will be submitted again.

        `changes` are the keys of the config that differ from the attempt before, with the values before and after. `settings` are what an
        audit judges the attempt by (`cluster.record.audit.settings`).
        """
        self.backlog.clear()  # rows that wait belong to the attempt before
        with self._transaction() as db:
            (self.attempt,) = db.execute("SELECT coalesce(max(attempt), 0) + 1 FROM attempts").fetchone()
            judged = None if settings is None else json.dumps(settings)
            db.execute(
                "INSERT INTO attempts (attempt, started, from_step, next_group, pending, settings) VALUES (?, ?, ?, ?, ?, ?)",
                (self.attempt, time.time(), from_step, next_group, json.dumps(list(pending)), judged),
            )
            db.execute("UPDATE steps SET undone = 1 WHERE step > ?", (from_step,))
            db.execute(
                "UPDATE groups SET outcome = 'undone' WHERE outcome = 'submitted' OR step > ? OR group_id >= ?", (from_step, next_group)
            )
            db.executemany("UPDATE groups SET outcome = 'undone' WHERE group_id = ?", [(group_id,) for group_id in pending])
            rows = [(self.attempt, key, _as_text(before), _as_text(after)) for key, before, after in changes]
            db.executemany("INSERT INTO changes VALUES (?, ?, ?, ?)", rows)

    @waits_for_room
    def published(self, version: int, sent: str, proven: Iterable[Proven]) -> None:
        """A publish is over: the learner sent weights with the fingerprint `sent`, and every living engine proved its own."""
        with self._transaction() as db:
            known = "SELECT coalesce(max(publish), 0) + 1 FROM publishes WHERE attempt = ?"
            (publish,) = db.execute(known, (self.attempt,)).fetchone()
            rows = [(self.attempt, publish, version, sent, *engine, time.time()) for engine in proven]
            db.executemany("INSERT INTO publishes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @waits_for_room
    def event(self, kind: str, who: str, text: str) -> None:
        """Something happened to an engine, a rank or the run: `who` is its name, "engine 1"; `text` says why."""
        self.db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", (self.attempt, time.time(), kind, who, text))

    @waits_for_room
    def rolled_back(self, step: int, back_to: int, rate: float, text: str) -> None:
        """An update of `step` spiked: the run goes back to the step `back_to`, with `rate` times the learning rate of its config."""
        self.db.execute("INSERT INTO rollbacks VALUES (?, ?, ?, ?, ?, ?)", (self.attempt, time.time(), step, back_to, rate, text))

    def rates(self) -> list[float]:
        """The share of the config's learning rate that the run went on with after each rollback, the newest last."""
        return [rate for (rate,) in self.db.execute("SELECT rate FROM rollbacks ORDER BY rowid")]

    def submitted(self, group_id: int, prompt_id: str, epoch: int) -> None:
        """A group is handed to the engines."""
        self.submitted_together([Submitted(group_id, prompt_id, epoch)])

    @waits_for_room
    def submitted_together(self, groups: Sequence[Submitted]) -> None:
        """Groups are handed to the engines at the same time."""
        rows = [(group.group_id, self.attempt, group.prompt_id, group.epoch) for group in groups]
        with self._transaction() as db:
            db.executemany("INSERT INTO groups (group_id, attempt, prompt_id, epoch) VALUES (?, ?, ?, ?)", rows)

    @waits_for_room
    def retried(self, group_id: int) -> None:
        """An engine died with the group; another one takes it."""
        self.db.execute("UPDATE groups SET tries = tries + 1 WHERE group_id = ? AND attempt = ?", (group_id, self.attempt))

    @waits_for_room
    def rejected(self, group_id: int, engine: int, reason: str, unscored: int) -> None:
        """A group will not be learned; `unscored` of its responses have no reward."""
        changed = self.db.execute(
            "UPDATE groups SET outcome = 'rejected', engine = ?, reason = ?, unscored = ? WHERE group_id = ? AND attempt = ?",
            (engine, reason, unscored, group_id, self.attempt),
        )
        assert changed.rowcount == 1, f"group {group_id} is rejected but was never submitted in this attempt"

    @waits_for_room
    def learned(self, step: int, groups: Iterable[tuple[int, int, float, int, int, int] | Account], weights: str = "") -> None:
        """Close `step` with its groups and its weights' fingerprint. A group may leave out the life of its engine, which is then 0."""
        rows = [(step, *Account(*group)[1:], group[0], self.attempt) for group in groups]
        with self._transaction() as db:
            db.execute(
                "INSERT INTO steps (step, attempt, finished, weights) VALUES (?, ?, ?, ?)", (step, self.attempt, time.time(), weights)
            )
            changed = db.executemany(
                "UPDATE groups SET outcome = 'learned', step = ?, engine = ?, reward = ?, unscored = ?, "
                "oldest_version = ?, newest_version = ?, life = ? WHERE group_id = ? AND attempt = ?",
                rows,
            )
            assert changed.rowcount == len(rows), f"step {step} learned {len(rows)} groups, {changed.rowcount} of them submitted"

    def faults(self, next_group: int, pending: Sequence[int]) -> list[str]:
        """What does not add up: groups lost, groups settled twice, or steps missing; empty in a sound run."""
        settled = "SELECT group_id, count(*) FROM groups WHERE outcome IN ('learned', 'rejected') GROUP BY group_id"
        counts = dict(self.db.execute(settled).fetchall())
        open_groups = set(pending)
        steps = [step for (step,) in self.db.execute("SELECT step FROM steps WHERE NOT undone ORDER BY step")]
        learned = self.db.execute("SELECT group_id, step FROM groups WHERE outcome = 'learned' ORDER BY group_id").fetchall()
        found = [f"group {g} was submitted and never settled" for g in range(next_group) if g not in counts and g not in open_groups]
        found += [f"group {g} was settled {count} times" for g, count in counts.items() if count > 1]
        found += [f"group {g} was learned by step {step}, which is undone or missing" for g, step in learned if step not in steps]
        if steps != list(range(1, len(steps) + 1)):
            found.append(f"steps are not consecutive: {steps[:5]} ... {steps[-5:]}")
        return found

    def flush(self) -> None:
        """Flush everything to disk: a checkpoint must never contain steps that the ledger has lost. Raises if an entry still waits."""
        self.backlog.clear()
        self.db.execute("PRAGMA wal_checkpoint(FULL)")

    def complaint(self) -> str:
        """Which entries wait for room on the disk; empty if none does."""
        return self.backlog.complaint("ledger.db")

    def close(self) -> None:
        """Write what waits, if that is possible now, and close the file."""
        self.backlog.try_again()
        self.db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        with self.db:
            yield self.db


def refuse_newer(path: Path, db: sqlite3.Connection) -> None:
    """Raise CheckpointError where a newer version of Gatewise wrote a ledger."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise CheckpointError(f"{path} has schema {found}, and this version knows schemas up to {VERSION}: use the Gatewise that wrote it")


def finished_steps(path: Path) -> int:
    """Steps that any attempt of a run finished; 0 where there is no ledger yet."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'steps'").fetchone()[0] == 0:
            return 0
        return int(db.execute("SELECT count(*) FROM steps").fetchone()[0])


def _as_text(value: object) -> str | None:
    """A config's value as JSON; None where the key was left out."""
    return None if value is None else json.dumps(value)
