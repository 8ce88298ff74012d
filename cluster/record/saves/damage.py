"""Whether the files that a continued run adds to can still be read, before anything is started for it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from cluster.record.metrics.lines import read_values
from configs.errors import CheckpointError
from configs.schema import Config

BY_STEP = ("metrics.jsonl", "layers.jsonl", "health.jsonl", "warnings.jsonl", "timeline.jsonl")


def refuse_damaged_record(config: Config) -> None:
    """Raise CheckpointError if the ledger of run.dir, or its metrics where it is to be continued, cannot be read."""
    folder = config.run_dir
    if (ledger := folder / "ledger.db").exists():
        refuse_damaged_ledger(ledger)
    if config.run.resume != "never":
        for name in BY_STEP:
            if (path := folder / name).exists():
                refuse_damaged_lines(path)


def refuse_damaged_ledger(path: Path) -> None:
    """Raise CheckpointError where a file is no whole SQLite database."""
    try:
        with closing(sqlite3.connect(path)) as db:
            said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise CheckpointError(
            f"{path} is damaged ({' '.join(said.split())}), so the groups that were learned are not known: put a copy of it back, or begin "
            f'a new run from the weights with another run.dir and run.from = "{path.parent}"'
        )


def refuse_damaged_lines(path: Path) -> None:
    """Raise CheckpointError where a file is no text of JSON objects with a step; a last line that was cut off is no damage."""
    advice = "delete what is no JSON object with a step, or put a copy of the file back"
    try:
        rows = read_values(path)
    except ValueError as error:  # bytes that are no text
        raise CheckpointError(f"{path} is damaged ({error}): {advice}") from error
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise CheckpointError(f"{path} is damaged: it has a line {str(row)[:60]!r}: {advice}")
