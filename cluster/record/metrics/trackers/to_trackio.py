"""Trackio: its database on this machine, or the server of TRACKIO_SERVER_URL, or the Space of TRACKIO_SPACE_ID.

Trackio knows a run by its name. A step that is learned again after a resume has two points; `attempt` tells them apart.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cluster.record.metrics.trackers.tracker import COLUMNS, Row, Tracked, cells


class UndeliveredError(ConnectionError):
    """Trackio has kept values on this machine that its server did not take."""


class Trackio:
    """One run of a Trackio project."""

    package: ClassVar[str] = "trackio"
    known: int | None = None

    def __init__(self, run: Tracked) -> None:
        where = self.destination(run.folder, run.offline)
        if run.offline:
            os.environ["TRACKIO_DIR"] = str(run.folder / "trackers" / "trackio")
            for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
                os.environ.pop(name, None)
        import trackio

        self.trackio: Any = trackio
        server = os.environ.get("TRACKIO_SERVER_URL")
        if server and not os.environ.get("TRACKIO_SPACE_ID"):
            refuse_silent(trackio, server)
        self.remote = not where.startswith("folder ")
        self.project = run.project
        self.attempt = run.attempt
        self.id = run.id
        self.board: Any = trackio.init(
            project=run.project, name=run.id, config=dict(run.config), resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        self.url = f"{where}, project {run.project}, run {run.id}"

    @staticmethod
    def destination(folder: Path, offline: bool) -> str:
        if offline:
            return f"folder {folder.absolute() / 'trackers' / 'trackio'}"
        if space := os.environ.get("TRACKIO_SPACE_ID"):
            return f"Space {space}"
        if server := os.environ.get("TRACKIO_SERVER_URL"):
            parts = urlsplit(server)
            return f"{parts.scheme}://{parts.hostname}:{parts.port or ''}{parts.path}"  # without the write token
        return f"folder {os.environ.get('TRACKIO_DIR') or Path.home() / '.cache' / 'huggingface' / 'trackio'}"

    def rewind(self, step: int) -> None:
        """Nothing: Trackio has no way back, and `attempt` tells old and new points apart."""

    def scalars(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for step, values in lines:
            self.board.log({**values, "attempt": self.attempt}, step=step)

    def responses(self, step: int, rows: Sequence[Row]) -> None:
        table = [dict(zip(COLUMNS, row, strict=True)) for row in cells(step, rows)]
        import pandas

        self.board.log({"responses": self.trackio.Table(dataframe=pandas.DataFrame(table))}, step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        self.board.log({f"pictures/{name}": self.trackio.Image(str(path))}, step=max(step, 0))

    def health(self, step: int, text: str) -> None:
        self.board.alert(title=f"step {step}", text=text)

    def close(self) -> None:
        """Deliver everything; UndeliveredError where Trackio could not and kept a part in its folder, from where it sends it later."""
        self.board.finish()
        if self.remote and self.trackio.SQLiteStorage.has_pending_data(self.project):
            raise UndeliveredError(f"Trackio keeps values of the project {self.project} that its server did not take")


def refuse_silent(trackio: Any, server: str) -> None:
    """Raise where the server does not answer: Trackio itself only warns, and goes on in its own folder."""
    from trackio.utils import parse_trackio_server_url

    address, token = parse_trackio_server_url(server)
    trackio.RemoteClient(address, hf_token=None, write_token=token or os.environ.get("TRACKIO_WRITE_TOKEN"), verbose=False)
