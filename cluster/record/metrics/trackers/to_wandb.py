"""Weights & Biases. Its own process, wandb-core, keeps what the server does not take and sends it later.

The service cannot take a step back, so `step` is a value of its own, and the axis of every curve. After a resume from a checkpoint the
steps that are learned again appear twice; `attempt` tells them apart.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cluster.record.metrics.trackers.tracker import COLUMNS, Row, Tracked, cells

CLOUD = "https://api.wandb.ai"
PATIENCE_S = 60.0  # for the server's answer at the start
DEFAULTS = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


class WandB:
    """One run of Weights & Biases, with an id that this project makes."""

    package: ClassVar[str] = "wandb"

    def __init__(self, run: Tracked) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        import wandb

        self.wandb: Any = wandb
        self.attempt = run.attempt
        folder = run.folder / "trackers"
        folder.mkdir(exist_ok=True)
        # Nothing that it would look up by itself: a git remote and a command line may hold secrets.
        settings = wandb.Settings(init_timeout=PATIENCE_S, console="off", save_code=False, x_disable_machine_info=True)
        self.board: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=run.id,
            resume="allow",
            dir=folder,
            mode="offline" if run.offline else "online",
            config=dict(run.config),
            allow_val_change=True,
            settings=settings,
        )
        self.board.define_metric("*", step_metric="step")
        self.id = run.id
        self.url = str(self.board.url or f"send it with: wandb sync {Path(self.board.dir).parent}")
        has = None if run.offline or not run.resumed else self.board.summary.get("step", -1)
        self.known: int | None = None if has is None else int(has)

    @staticmethod
    def destination(folder: Path, offline: bool) -> str:
        return "offline" if offline else os.environ.get("WANDB_BASE_URL", CLOUD)

    def rewind(self, step: int) -> None:
        """Nothing: the service has no way back, and `attempt` tells old and new points apart."""

    def scalars(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for step, values in lines:
            self.board.log({**values, "step": step, "attempt": self.attempt})

    def responses(self, step: int, rows: Sequence[Row]) -> None:
        self.board.log({"responses": self.wandb.Table(columns=list(COLUMNS), data=texts(cells(step, rows))), "step": step})

    def picture(self, name: str, path: Path, step: int) -> None:
        self.board.log({f"pictures/{name}": self.wandb.Image(str(path)), "step": max(step, 0)})

    def health(self, step: int, text: str) -> None:
        self.board.alert(title=f"step {step}", text=text, level=self.wandb.AlertLevel.WARN)

    def close(self) -> None:
        self.board.finish()


def texts(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows whose last column, the reference, is a text in all of them: a column of the service has one type."""
    return [[*row[:-1], None if row[-1] is None else str(row[-1])] for row in rows]
