"""A disk that takes nothing more: what the ledger, the metrics and the rest of a run's record do then."""

import errno
import io
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.record.expert_log import ExpertLog
from cluster.record.ledger import Ledger
from cluster.record.metrics.lines import LineFile, read_lines
from cluster.record.metrics.metrics import Metrics, read_metrics
from cluster.record.metrics.sinks import TensorBoard
from cluster.record.pictures.artist import Artist, drawn_at_the_end
from cluster.record.progress.progress import Progress
from cluster.record.run_dir import write_config
from cluster.record.warnings import WarningLog, read_warnings
from tests.toys.run import run_config

FULL = Path("/dev/full")  # takes no byte: every write fails as on a full disk


class Disk:
    """Takes `free` more bytes, and of a longer write a part."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.write = 10**9, os.write
        monkeypatch.setattr(os, "write", self.take)

    def take(self, descriptor: int, data: bytes) -> int:
        if not self.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.write(descriptor, data[: self.free])
        self.free -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize("free", range(0, 40, 3))
def test_lines_that_a_full_disk_does_not_take_are_written_later_in_their_order_and_whole(tmp_path: Path, disk: Disk, free: int) -> None:
    file = LineFile(tmp_path / "metrics.jsonl")
    disk.free = free
    for step in (1, 2, 3):
        file.add({"step": step})
    assert len(read_lines(file.path) if file.path.exists() else []) == free // len('{"step": 1}\n')
    if free < 3 * len('{"step": 1}\n'):
        assert f"line{'s' if free < 24 else ''} of metrics.jsonl cannot be written yet" in file.complaint()
        with pytest.raises(OSError, match="No space left on device"):
            file.flush()
    disk.free = 10**9
    file.add({"step": 4})
    assert file.complaint() == ""
    file.flush()
    file.close()
    assert [line["step"] for line in read_lines(file.path)] == [1, 2, 3, 4]


def test_a_file_that_is_full_says_so_and_its_end_raises_nothing() -> None:
    file = LineFile(FULL)
    file.add({"step": 1})
    file.add({"step": 2})
    assert file.complaint() == "2 lines of full cannot be written yet (No space left on device)"
    file.close()


def test_metrics_layers_and_warnings_go_on_and_keep_a_checkpoint_from_promising_what_is_not_on_record(tmp_path: Path, disk: Disk) -> None:
    metrics, warnings = Metrics(run_config(tmp_path), 0), WarningLog(tmp_path)
    disk.free = 0
    metrics.write(1, {"a": 1.0, "b/layer_00": 2.0})
    warnings.begin(1, "truncated", "text")
    assert "1 line of metrics.jsonl cannot" in metrics.complaint()
    assert "1 line of layers.jsonl cannot" in metrics.complaint()
    assert "1 line of warnings.jsonl cannot" in warnings.complaint()
    for record in (metrics, warnings):
        with pytest.raises(OSError, match="No space left"):
            record.flush()
    disk.free = 10**9
    metrics.flush()
    warnings.flush()
    metrics.close()
    assert (metrics.complaint(), warnings.complaint()) == ("", "")
    assert read_metrics(tmp_path) == [{"step": 1, "a": 1.0}]
    assert [episode.name for episode in read_warnings(tmp_path)] == ["truncated"]


def test_texts_and_expert_counts_that_cannot_be_written_are_counted_and_leave_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_: object, **__: object) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    metrics, experts = Metrics(run_config(tmp_path), 0), ExpertLog(tmp_path)
    experts.write(1, np.ones((1, 2), np.int64))
    shown: Any = [(SimpleNamespace(), (0, "text", None))]
    monkeypatch.setattr("cluster.record.metrics.metrics.describe_response", lambda *_: {"response": "text"})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        patch.setattr(Path, "open", full)
        for step in (2, 3):
            metrics._keep("responses", step, shown)
            experts.write(step, np.ones((1, 2), np.int64))
    metrics._keep("responses", 4, shown)
    experts.write(4, np.ones((1, 2), np.int64))
    assert metrics.complaint() == "responses/ lacks 2 steps from 2 to 3"
    assert experts.complaint() == "experts.npz lacks 2 steps from 2 to 3"
    assert [path.name for path in tmp_path.glob("responses/*")] == ["step_000004.jsonl"]
    kept = experts.read()
    assert kept is not None
    assert kept[0].tolist() == [1, 4]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_tensorboard_that_fails_is_opened_anew_and_its_lost_steps_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = pytest.importorskip("torch.utils.tensorboard")
    said: list[tuple[str, float, int]] = []
    full = [False]

    class Board:
        def __init__(self, folder: str, purge_step: int | None = None) -> None: ...
        def add_scalar(self, *values: Any) -> None:
            if full[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            said.append(values)

        def flush(self) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setattr(writer, "SummaryWriter", Board)
    board = TensorBoard(run_config(tmp_path), 0)
    for step in range(1, 6):
        full[0] = step in (2, 3)
        board.write(step, {"a": 1.0})
        board.flush()
    assert [step for *_, step in said] == [1, 4, 5]
    assert board.complaint() == "tensorboard/ lacks 2 steps from 2 to 3 (No space left on device)"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    book = Ledger(tmp_path / "ledger.db")
    book.begin(0, 0, ())
    yield book
    book.close()


def fill(ledger: Ledger) -> None:
    """Let SQLite find its disk full: the file may not get another page."""
    (pages,) = ledger.db.execute("PRAGMA page_count").fetchone()
    ledger.db.execute(f"PRAGMA max_page_count = {pages}")


def test_rows_that_a_full_disk_does_not_take_wait_in_their_order_and_none_is_lost_or_doubled(ledger: Ledger) -> None:
    fill(ledger)
    for group in range(200):
        ledger.submitted(group, f"prompt {group} " + "x" * 200, 0)
    ledger.retried(150)
    ledger.rejected(150, 0, "no signal", 0)
    ledger.learned(1, ((group, 0, 0.5, 0, 0, 0) for group in range(150)))
    assert " rows of ledger.db cannot be written yet (database or disk is full)" in ledger.complaint()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.flush()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.begin(0, 0, ())  # the next attempt must not get the rows of this one
    ledger.db.execute("PRAGMA max_page_count = 100000")
    ledger.learned(2, [(group, 0, 0.5, 0, 1, 1) for group in range(151, 200)])
    assert ledger.complaint() == ""
    ledger.flush()
    assert ledger.faults(200, []) == []
    assert ledger.db.execute("SELECT tries, outcome FROM groups WHERE group_id = 150").fetchall() == [(2, "rejected")]


def test_an_error_that_is_no_full_disk_ends_the_run_as_before(ledger: Ledger) -> None:
    ledger.submitted(0, "p", 0)
    with pytest.raises(sqlite3.IntegrityError):
        ledger.submitted(0, "p", 0)
    assert ledger.complaint() == ""


def test_a_clock_that_jumps_back_changes_no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [2e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    ledger = Ledger(tmp_path / "ledger.db")
    for attempt in range(2):
        ledger.begin(attempt, attempt, ())
        ledger.submitted(attempt, "p", 0)
        ledger.learned(attempt + 1, [(attempt, 0, 0.5, 0, 0, 0)])
        now[0] -= 3600
    assert ledger.faults(2, []) == []
    assert ledger.db.execute("SELECT attempt FROM attempts ORDER BY attempt").fetchall() == [(1,), (2,)]


def test_a_config_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(run_config(tmp_path))
    before = (tmp_path / "config.toml").read_text()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_config(run_config(tmp_path, learner={"lr": 0.5}))
    assert (tmp_path / "config.toml").read_text() == before
    assert not list(tmp_path.glob("*.tmp"))


def test_pictures_that_cannot_be_drawn_end_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "metrics.jsonl").touch()
    monkeypatch.setattr("cluster.record.pictures.artist.start_drawing", full)
    artist, said = Artist(tmp_path), list[str]()
    artist.due = 0.0
    artist.draw_when_due()
    assert artist.process is None
    assert artist.due > time.monotonic()
    with drawn_at_the_end(tmp_path, said.append):
        pass
    assert len(said) == 1


def test_an_output_file_on_a_full_disk_costs_lines_and_not_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if "lost" in text:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            printed.append(text)
            return len(text)

    monkeypatch.setattr("sys.stdout", Full())
    monkeypatch.setattr("cluster.record.progress.output.write_to_nowhere", lambda *_: pytest.fail("later lines have room"))
    show = Progress(3)
    for text in ("a", "lost", "b"):
        show.say(text)
    assert "".join(printed) == "a\nb\n"
