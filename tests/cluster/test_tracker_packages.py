"""The real packages of the trackers, offline: what they have is what the run wrote. Each is skipped where its package is not installed."""

import json
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.record.ledger import Ledger
from cluster.record.metrics.trackers.followers import Followers
from cluster.record.metrics.trackers.following import Asked
from cluster.record.metrics.trackers.ready import installed
from cluster.record.metrics.trackers.state import read_state
from cluster.record.metrics.trackers.table import TRACKERS
from cluster.record.metrics.trackers.to_mlflow import allowed

Points = set[tuple[int, str, float]]
KEYS = ("reward/mean", "eval/pass@4", "seconds/step")
ASKED = Asked(project="papers", name="first", offline=True, responses_every=1, end_s=300.0)


def learn(run: Path, steps: range, shift: float = 0.0) -> Points:
    """Write what some steps leave; returns their values."""
    values = {step: {key: step / 8 + place + shift for place, key in enumerate(KEYS)} for step in steps}
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step, **row, "grad_norm": None}) + "\n" for step, row in values.items())
    for step in steps:
        row = {"group": step, "prompt": "1+1 <b>", "response": "ü \u202e 2", "reward": 1.0, "reference": "2", "tokens": 3}
        (run / f"responses/step_{step:06d}.jsonl").write_text(json.dumps(row) + "\n")
    return {(step, key, value) for step, row in values.items() for key, value in row.items()}


def begin(run: Path, step: int) -> None:
    ledger = Ledger(run / "ledger.db")
    ledger.begin(step, 0, ())
    ledger.close()


def of_mlflow(run: Path, run_id: str) -> Iterator[tuple[int, str, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run}/trackers/mlflow.db")
    found = client.get_run(run_id)
    assert (found.info.run_name, found.info.status, found.data.params["model.path"]) == ("first", "FINISHED", "m")
    files = {file.path for folder in ("", "responses") for file in client.list_artifacts(run_id, folder)}
    assert {"config.toml", "reward.png", "responses/step_000001.json"} <= files
    for key in KEYS:
        yield from ((point.step, key, point.value) for point in client.get_metric_history(run_id, allowed(key)))


def of_trackio(run: Path, run_id: str) -> Iterator[tuple[int, str, float]]:
    with sqlite3.connect(run / "trackers/trackio/papers.db") as db:
        rows = db.execute("SELECT step, metrics FROM metrics WHERE run_name = ?", (run_id,)).fetchall()
        (config,) = db.execute("SELECT config FROM configs WHERE run_name = ?", (run_id,)).fetchone()
    assert json.loads(config)["model"]["path"] == "m"
    assert any("responses" in json.loads(values) for _, values in rows)
    yield from ((step, key, value) for step, values in rows for key, value in json.loads(values).items() if key in KEYS)


def of_wandb(run: Path, run_id: str) -> Iterator[tuple[int, str, float]]:
    from wandb.proto import wandb_internal_pb2

    tables = 0
    for path in sorted(run.glob(f"trackers/wandb/offline-run-*-{run_id}/*.wandb")):
        for data in wandb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            tables += any(key.startswith("responses") for key in items)
            yield from ((items["step"], key, value) for key, value in items.items() if key in KEYS)
    assert tables


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole of a record, or its end
            yield whole
            whole = b""


def of_tensorboard(run: Path, run_id: str) -> Iterator[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert events.Tags()["images"] == ["reward"]
    for key in KEYS:
        yield from ((event.step, key, event.value) for event in events.Scalars(key))


READERS: dict[str, Callable[[Path, str], Any]] = {
    "mlflow": of_mlflow, "trackio": of_trackio, "wandb": of_wandb, "tensorboard": of_tensorboard,
}  # fmt: skip
REWINDS = ("tensorboard",)  # where undone points disappear


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_has_what_the_run_wrote_also_after_a_resume(tmp_path: Path, name: str) -> None:
    if not installed(TRACKERS[name].package):
        pytest.skip(f"NOT TESTED: the package of {name} is not installed (pip install {name})")
    (tmp_path / "config.toml").write_text('[run]\nsteps = 4\n[model]\npath = "m"\n')
    (tmp_path / "responses").mkdir()
    (tmp_path / "reward.png").write_bytes(tiny_png())
    begin(tmp_path, 0)
    first = learn(tmp_path, range(1, 4))
    said: list[str] = []
    run = read_state(tmp_path, name).id
    for attempt in (1, 2):
        if attempt == 2:  # from the checkpoint of step 2: step 3 is learned again
            run = read_state(tmp_path, name).id
            begin(tmp_path, 2)
            lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
            (tmp_path / "metrics.jsonl").write_text("".join(lines[:2]))
            second = learn(tmp_path, range(3, 5), shift=0.5)
        followers = Followers(tmp_path, [name], ASKED, said.append)
        followers.start()
        log = tmp_path / f"logs/tracker-{name}.log"
        assert followers.end(lambda: False, troubled_s=ASKED.end_s), (said, log.read_text())
    assert read_state(tmp_path, name).id == run, "it is one run there"
    expected = first | second
    if name in REWINDS:
        expected = {point for point in first if point[0] <= 2} | second
    assert set(READERS[name](tmp_path, run)) == expected


def tiny_png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGBA", (2, 3)).save(file, "PNG")
    return file.getvalue()
