"""The run's account book: every prompt handed out, what became of its group, and the step that learned it.

SQLite in `ledger.db`. A group is learned at most once, which the schema itself enforces; a group that was learned after the last
checkpoint of a run that died is marked `undone` on resume and handed out again under the next attempt.

    submitted ──► learned (step) | rejected | undone
"""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (attempt INTEGER PRIMARY KEY, started REAL NOT NULL, from_step INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS groups (
    group_id INTEGER NOT NULL, attempt INTEGER NOT NULL REFERENCES attempts, prompt_id TEXT NOT NULL, epoch INTEGER NOT NULL,
    engine INTEGER, outcome TEXT NOT NULL DEFAULT 'submitted'
        CHECK (outcome IN ('submitted', 'learned', 'rejected', 'undone')),
    reason TEXT, step INTEGER, reward REAL, oldest_version INTEGER, newest_version INTEGER, tries INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (group_id, attempt), CHECK ((outcome = 'learned') <= (step IS NOT NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS learned_once ON groups (group_id) WHERE outcome IN ('learned', 'rejected');
CREATE TABLE IF NOT EXISTS steps (
    step INTEGER NOT NULL, attempt INTEGER NOT NULL REFERENCES attempts, finished REAL NOT NULL, undone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (step, attempt)
);
CREATE UNIQUE INDEX IF NOT EXISTS step_once ON steps (step) WHERE NOT undone;
"""


class Ledger:
    """Writes the account of one attempt at a run; the file keeps those of all attempts."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.executescript(SCHEMA)
        self.attempt = 0

    def begin(self, from_step: int, next_group: int, pending: Sequence[int]) -> None:
        """Open an attempt that continues after `from_step`: what came later is undone, `pending` groups are handed out anew."""
        self.db.execute("BEGIN IMMEDIATE")
        (self.attempt,) = self.db.execute("SELECT coalesce(max(attempt), 0) + 1 FROM attempts").fetchone()
        self.db.execute("INSERT INTO attempts VALUES (?, ?, ?)", (self.attempt, time.time(), from_step))
        self.db.execute("UPDATE steps SET undone = 1 WHERE step > ?", (from_step,))
        self.db.execute(
            "UPDATE groups SET outcome = 'undone' WHERE outcome = 'submitted' OR step > ? OR group_id >= ?", (from_step, next_group)
        )
        self.db.executemany("UPDATE groups SET outcome = 'undone' WHERE group_id = ?", [(group_id,) for group_id in pending])
        self.db.execute("COMMIT")

    def submitted(self, group_id: int, prompt_id: str, epoch: int) -> None:
        self.db.execute(
            "INSERT INTO groups (group_id, attempt, prompt_id, epoch) VALUES (?, ?, ?, ?)", (group_id, self.attempt, prompt_id, epoch)
        )

    def retried(self, group_id: int) -> None:
        """An engine died with the group; another takes it."""
        self.db.execute("UPDATE groups SET tries = tries + 1 WHERE group_id = ? AND attempt = ?", (group_id, self.attempt))

    def rejected(self, group_id: int, engine: int, reason: str) -> None:
        self.db.execute(
            "UPDATE groups SET outcome = 'rejected', engine = ?, reason = ? WHERE group_id = ? AND attempt = ?",
            (engine, reason, group_id, self.attempt),
        )

    def learned(self, step: int, groups: Iterable[tuple[int, int, float, int, int]]) -> None:
        """Close `step` with its groups (group_id, engine, mean reward, oldest and newest version), in one transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO steps (step, attempt, finished) VALUES (?, ?, ?)", (step, self.attempt, time.time()))
        self.db.executemany(
            "UPDATE groups SET outcome = 'learned', step = ?, engine = ?, reward = ?, oldest_version = ?, newest_version = ? "
            "WHERE group_id = ? AND attempt = ?",
            [(step, engine, reward, oldest, newest, group_id, self.attempt) for group_id, engine, reward, oldest, newest in groups],
        )
        self.db.execute("COMMIT")

    def faults(self, next_group: int, pending: Sequence[int]) -> list[str]:
        """What does not add up: prompts lost, learned twice, or steps missing; empty in a sound run."""
        settled = "SELECT group_id, count(*) FROM groups WHERE outcome IN ('learned', 'rejected') GROUP BY group_id"
        counts = dict(self.db.execute(settled).fetchall())
        open_groups = set(pending)
        lost = [g for g in range(next_group) if g not in counts and g not in open_groups]
        twice = [g for g, count in counts.items() if count > 1]
        steps = [step for (step,) in self.db.execute("SELECT step FROM steps WHERE NOT undone ORDER BY step")]
        found = [f"group {g} was handed out and never settled" for g in lost]
        found += [f"group {g} was settled {counts[g]} times" for g in twice]
        if steps != list(range(1, len(steps) + 1)):
            found.append(f"steps are not consecutive: {steps[:5]} ... {steps[-5:]}")
        return found

    def close(self) -> None:
        self.db.close()
