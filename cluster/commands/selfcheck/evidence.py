"""What the runs of a selfcheck left behind, as its parts read it: metrics, ledger and what was seen of each run."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.commands.selfcheck.attempt import Attempt, Exported
from cluster.commands.selfcheck.rows import PartFailed
from cluster.commands.selfcheck.yardstick import Yardstick
from cluster.record.metrics.lines import read_lines
from cluster.record.metrics.sinks import METRICS
from configs.schema import Config

Values = dict[str, Any]
LEDGER = "ledger.db"


@dataclass(slots=True, kw_only=True)
class Evidence:
    """Everything that a part may judge. Files are read when they are asked for."""

    config: Config  # of the first run
    model: Values  # its model's config.json
    gpu: bool
    full: bool  # the recipe's own model
    prompt_tokens: float  # mean length of a prompt
    yardstick: Yardstick | None
    first: Attempt
    second: Attempt | None = None  # the run resumed
    resumed_from: Path | None = None  # the checkpoint that the second run continues from
    exported: Exported | None = None

    @property
    def steps(self) -> list[Values]:
        """The metrics of every step on record."""
        path = self.config.run_dir / METRICS
        return [row for row in read_lines(path) if row["step"] > 0] if path.is_file() else []

    def step(self, number: int) -> Values:
        """The metrics of a step; PartFailed, with what ended the run, where it is not on record."""
        for row in self.steps:
            if row["step"] == number:
                return row
        attempt = self.first if self.second is None or number <= self.first.config.run.steps else self.second
        raise PartFailed(f"step {number} is not on record: {attempt.why()}")

    def again(self) -> Attempt:
        """The second run; PartFailed where there was none."""
        if self.second is None:
            raise PartFailed(f"there is no checkpoint to resume from: {self.first.why()}")
        return self.second

    def ledger(self, query: str, *values: object) -> Sequence[Any]:
        """The rows of a query; none where no ledger was written."""
        path = self.config.run_dir / LEDGER
        if not path.is_file():
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()

    def weights(self, step: int) -> str:
        """The fingerprint of the weights that every engine proved to have after a step; empty where the step is not on record."""
        found = self.ledger("SELECT weights FROM steps WHERE step = ? AND NOT undone", step)
        return str(found[0][0]) if found else ""


def needed(fine: object, cause: str) -> None:
    """Raise PartFailed with `cause` unless `fine` is true."""
    if not fine:
        raise PartFailed(cause)
