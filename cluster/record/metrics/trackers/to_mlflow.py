"""MLflow: the server of MLFLOW_TRACKING_URI, or a database in the run directory where there is none.

MLflow keeps every value that it gets. Of a step that is learned again after a resume it has both values, the newer one last.
"""

import os
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cluster.record.metrics.trackers.tracker import COLUMNS, Row, Tracked, cells, flat

# MLflow itself would try again for minutes; the follower tries again by itself.
DEFAULTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_DISABLE_TELEMETRY": "true"}
ALLOWED = re.compile(r"[^\w.\- :/]", re.ASCII)  # the opposite of the letters of a name
MOST_METRICS, MOST_PARAMS = 1000, 100  # of one request
LONGEST_PARAM, LONGEST_TAG = 6000, 5000


class MLflow:
    """One run of an MLflow experiment, with the id that MLflow gives."""

    package: ClassVar[str] = "mlflow"
    known: int | None = None  # every request is answered, so the follower's own account is right

    def __init__(self, run: Tracked) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        where = self.destination(run.folder, run.offline)
        local = where.startswith("sqlite:///")
        if local:
            (run.folder / "trackers").mkdir(exist_ok=True)
        self.client: Any = MlflowClient(where)
        self.id = run.id if run.resumed else self._begin(run, (run.folder / "trackers" / "mlflow").as_uri() if local else None)
        self._params(flat(run.config))
        self.client.log_artifact(self.id, str(run.folder / "config.toml"))
        self.client.set_tag(self.id, "gatewise.attempt", str(run.attempt))
        experiment = self.client.get_run(self.id).info.experiment_id
        self.url = where if local else f"{where}/#/experiments/{experiment}/runs/{self.id}"

    @staticmethod
    def destination(folder: Path, offline: bool) -> str:
        local = f"sqlite:///{folder.absolute()}/trackers/mlflow.db"
        return local if offline else os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/") or local

    def _begin(self, run: Tracked, files: str | None) -> str:
        found = self.client.get_experiment_by_name(run.project)
        experiment = found.experiment_id if found else self.client.create_experiment(run.project, artifact_location=files)
        tags = {"gatewise.run_dir": str(run.folder), "gatewise.id": run.id}
        return str(self.client.create_run(experiment, run_name=run.name, tags=tags).info.run_id)

    def _params(self, given: Mapping[str, Any]) -> None:
        """Parameters never change in MLflow: those of a resume that differ become tags."""
        from mlflow.entities import Param, RunTag

        has = self.client.get_run(self.id).data.params
        wanted = {allowed(key): str(value)[:LONGEST_PARAM] for key, value in given.items()}
        new = [Param(key, value) for key, value in wanted.items() if key not in has]
        for start in range(0, len(new), MOST_PARAMS):
            self.client.log_batch(self.id, params=new[start : start + MOST_PARAMS])
        changed = [RunTag(f"changed.{key}", value[:LONGEST_TAG]) for key, value in wanted.items() if has.get(key, value) != value]
        if changed:
            self.client.log_batch(self.id, tags=changed[:MOST_PARAMS])

    def rewind(self, step: int) -> None:
        """Nothing is taken back; a tag says which steps have two values."""
        self.client.set_tag(self.id, "gatewise.resumed_after", str(step))

    def scalars(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(allowed(key), value, now, step) for step, values in lines for key, value in values.items()]
        for start in range(0, len(points), MOST_METRICS):
            self.client.log_batch(self.id, metrics=points[start : start + MOST_METRICS])

    def responses(self, step: int, rows: Sequence[Row]) -> None:
        columns = dict(zip(COLUMNS, map(list, zip(*cells(step, rows), strict=True)), strict=True))
        self.client.log_table(self.id, columns, f"responses/step_{step:06d}.json")

    def picture(self, name: str, path: Path, step: int) -> None:
        self.client.log_artifact(self.id, str(path))

    def health(self, step: int, text: str) -> None:
        self.client.set_tag(self.id, f"health.step_{step:06d}.{zlib.crc32(text.encode()):08x}", text[:LONGEST_TAG])

    def close(self) -> None:
        self.client.set_terminated(self.id)


def allowed(key: str) -> str:
    """A key in the letters that MLflow allows; @ is _at_. Any other change adds a number, which tells such keys apart."""
    key = key.replace("@", "_at_")
    name = ALLOWED.sub("_", key)
    return name if name == key else f"{name}_{zlib.crc32(key.encode()) % 1000:03d}"
