"""What `load_run` reads from a run directory, and that it changes nothing there."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gatewise
from cluster.record.checkpoint import Checkpoints, Position
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import Metrics
from cluster.record.run_dir import write_config
from tests.toys.run import run_config
from tests.toys.shown_run import write_capsule, write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two steps that was moved since: its config still names another folder."""
    home = tmp_path / "as it was"
    home.mkdir()
    config = run_config(home)
    write_config(config)
    metrics = Metrics(config, 0)
    for step in range(3):
        metrics.write(step, {"reward/mean": step / 2, "tokens": 8.0, "seconds/step": 1.0})
    metrics.close()
    (home / "responses").mkdir()
    for step in (1, 2):
        (home / f"responses/step_{step:06d}.jsonl").write_text(json.dumps({"prompt": "1+1=", "reward": 1.0}) + "\n")
    ledger = Ledger(home / "ledger.db")
    ledger.begin(0, 0, ())
    ledger.submitted(0, "p0", 0)
    ledger.learned(1, [(0, 0, 0.5, 0, 0, 0)])
    ledger.close()
    checkpoints = Checkpoints(config)
    aside = checkpoints.begin(2)
    (aside / "rank-0.json").write_text("{}")
    checkpoints.commit(aside, Position(step=2, next_group=1, pending=()))
    return home.rename(tmp_path / "a run?")


@pytest.fixture
def unchanged(folder: Path) -> Iterator[None]:
    """Fails where a test leaves the run's files other than they were."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("unchanged")
def test_a_run_is_read_where_it_lies(folder: Path) -> None:
    run = gatewise.load_run(str(folder))
    assert run.dir == folder
    assert run.config.run.dir == str(folder)
    assert [row["reward/mean"] for row in run.metrics] == [0.0, 0.5, 1.0]
    assert [row["step"] for row in run.responses()] == [1, 2]
    assert run.responses(2) == [{"step": 2, "prompt": "1+1=", "reward": 1.0}]
    assert run.responses(9) == []
    assert run.checkpoints == [folder / "checkpoints/step_000002"]
    assert "reward   0.000 at step 0" in run.summary
    assert repr(run) == f"Run('{folder}', 2 of 4 steps)"


@pytest.mark.usefixtures("unchanged")
def test_the_ledger_answers_queries_and_cannot_be_changed(folder: Path) -> None:
    run = gatewise.load_run(folder)
    assert run.ledger("SELECT prompt_id, reward FROM groups WHERE step = ?", 1) == [{"prompt_id": "p0", "reward": 0.5}]
    for changes in ("DELETE FROM groups", f"ATTACH '{folder / 'x.db'}' AS x", "PRAGMA journal_mode = DELETE", "CREATE TEMP TABLE t (a)"):
        with pytest.raises(gatewise.GatewiseError, match="is only read"):
            run.ledger(changes)
    assert not (folder / "x.db").exists()
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        run.ledger("SELECT absent FROM groups")


@pytest.mark.parametrize("name", ["ledger.db", "metrics.jsonl"])
def test_files_that_no_run_wrote_are_refused(tmp_path: Path, name: str) -> None:
    write_config(run_config(tmp_path))
    (tmp_path / name).write_bytes(b"\xff\xfe junk" * 200)
    run = gatewise.load_run(tmp_path)
    with pytest.raises(gatewise.NoRun, match=name):
        run.ledger("SELECT * FROM groups") if name == "ledger.db" else run.metrics


def test_the_ledger_of_a_run_at_work_shows_its_newest_rows(folder: Path) -> None:
    writing = Ledger(folder / "ledger.db")
    writing.begin(1, 1, ())
    assert gatewise.load_run(folder).ledger("SELECT count(*) AS attempts FROM attempts") == [{"attempts": 2}]
    writing.close()


@pytest.mark.usefixtures("unchanged")
def test_metrics_become_a_pandas_table_where_pandas_is_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gatewise.load_run(folder)
    table = run.metrics.to_pandas()
    assert list(table["reward/mean"]) == [0.0, 0.5, 1.0]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        run.metrics.to_pandas()


@pytest.mark.usefixtures("unchanged")
def test_responses_and_ledger_become_pandas_tables(folder: Path) -> None:
    run = gatewise.load_run(folder)
    assert run.responses().to_pandas().groupby("step")["reward"].mean().to_dict() == {1: 1.0, 2: 1.0}
    assert list(run.ledger("SELECT prompt_id FROM groups").to_pandas()["prompt_id"]) == ["p0"]
    assert run.responses(9).to_pandas().empty


def test_a_step_that_was_learned_again_has_its_last_capsule(tmp_path: Path) -> None:
    write_run(tmp_path, steps=2)
    run = gatewise.load_run(tmp_path)
    assert run.capsules == []
    for step in (None, 2):
        with pytest.raises(gatewise.InputError, match="holds no capsule"):
            run.capsule(step)
    write_capsule(tmp_path, 1)
    for number in ("", ".1", ".2", ".10"):
        write_capsule(tmp_path, 2, number=number)
    assert [path.name for path in run.capsules] == ["step_000001", "step_000002", "step_000002.1", "step_000002.10", "step_000002.2"]
    assert run.capsule(2).folder.name == run.capsule().folder.name == "step_000002.10"
    rows = run.capsule(1).rows
    assert [(row.member, row.advantage, row.ratios.max()) for row in rows] == [(0, 0.75, 1.5), (1, -0.25, 1.5)]


def test_a_run_that_has_not_made_a_step_is_a_run_too(tmp_path: Path) -> None:
    write_config(run_config(tmp_path))
    run = gatewise.load_run(tmp_path)
    assert (run.metrics, run.responses(), run.checkpoints) == ([], [], [])
    assert run.summary.endswith("no step yet")
    assert repr(run).endswith("0 of 4 steps)")
    with pytest.raises(gatewise.NoRun, match="has no ledger"):
        run.ledger("SELECT 1")
