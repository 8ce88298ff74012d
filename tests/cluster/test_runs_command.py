"""The list of runs: which folders are runs, what state each is in, and what a damaged or hostile one does to the list."""

import fcntl
import json
import re
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.cli import main
from cluster.commands.runs.listing import table
from cluster.commands.runs.state import RunState, age, runs_below, state_of
from cluster.commands.runs.summary import summary
from cluster.commands.train import EndOnRecord
from cluster.record.health_log import read_health
from cluster.record.ledger import END, Ledger
from cluster.record.metrics.best import Best
from cluster.record.metrics.lines import step_files
from tests.toys.run import run_config

AT = re.compile(r" +\d+ (s|min|h|d)")


def write(folder: Path, steps: int = 4, of: int = 4, end: str = "", why: str = "") -> Path:
    """A run of so many steps, whose ledger says how it ended."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f"[run]\nsteps = {of}\n")
    with closing(Ledger(folder / "ledger.db")) as ledger:
        ledger.begin(0, 0, ())
        for step in range(1, steps + 1):
            ledger.learned(step, [])
        if end:
            ledger.event(END, end, why)
    lines = [json.dumps({"step": step, "reward/mean": step / 4}) for step in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("steps", "end", "state"),
    [
        (4, "finished", "finished"), (4, "stopped", "finished"), (4, "", "finished"), (2, "stopped", "stopped"),
        (2, "failed", "failed"), (2, "", "ended"), (0, "failed", "failed"), (0, "", "ended"),
    ],
)  # fmt: skip
def test_the_state_follows_from_the_lock_the_steps_and_the_EndOnRecord(tmp_path: Path, steps: int, end: str, state: str) -> None:
    folder = write(tmp_path / "run", steps, end=end)
    found = state_of(folder)
    assert (found.state, found.step, found.steps) == (state, steps, 4)
    with (folder / "lock").open("w") as lock:
        assert state_of(folder).state == state, "a lock file alone holds nothing"
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state_of(folder).state == "running"
    assert state_of(folder).state == state


def test_the_end_of_an_earlier_attempt_is_not_that_of_a_killed_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", 2, end="stopped")
    with closing(Ledger(folder / "ledger.db")) as ledger:
        ledger.begin(1, 0, ())
    assert (state_of(folder).state, state_of(folder).step) == ("ended", 1)


@pytest.mark.parametrize(("error", "asked", "end"), [
    (None, False, ("finished", "")), (None, True, ("stopped", "")), (KeyboardInterrupt(), False, ("stopped", "interrupted")),
    (ExceptionGroup("unhandled", [RuntimeError("the disk went away")]), False, ("failed", "RuntimeError: the disk went away")),
])  # fmt: skip
def test_an_attempt_enters_how_it_ended(tmp_path: Path, error: BaseException | None, asked: bool, end: tuple[str, str]) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.begin(0, 0, ())
        raised = nullcontext() if error is None else pytest.raises(type(error))
        with raised, EndOnRecord(ledger, run_config(tmp_path), SimpleNamespace(asked=asked)):  # type: ignore[arg-type]
            if error is not None:
                raise error
        assert ledger.db.execute("SELECT who, text FROM events WHERE kind = ?", (END,)).fetchall() == [end]


def test_runs_are_found_below_a_folder_and_nothing_inside_a_run_is_one(tmp_path: Path) -> None:
    for name in ("a", "deep/er/b", "a/unstarted-1", "too/deep/for/the/list/c"):
        write(tmp_path / name) if not (tmp_path / name).exists() else None
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.toml").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in runs_below(tmp_path)] == ["a", "deep/er/b"]
    assert list(runs_below(tmp_path / "a")) == [tmp_path / "a"]


def break_config(folder: Path) -> None:
    (folder / "config.toml").write_text("[run\n")


def break_ledger(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"no database at all" * 99)


def break_metrics(folder: Path) -> None:
    (folder / "metrics.jsonl").write_bytes(b"\xff\xfe{" * 9)


def older(folder: Path) -> None:
    """The ledger of a version without events."""
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("DROP TABLE events")


def nonsense(folder: Path) -> None:
    (folder / "config.toml").write_text('run = {steps = "many"}')


@pytest.mark.parametrize(
    ("damage", "why"),
    [(break_config, "config.toml"), (break_ledger, "ledger.db"), (break_metrics, "metrics.jsonl"), (older, ""), (nonsense, "run.steps")],
)
def test_a_damaged_run_is_listed_with_what_is_wrong(tmp_path: Path, damage, why: str) -> None:
    damage(write(tmp_path / "bad", 2))
    found = state_of(tmp_path / "bad")
    assert found.state == "ended"
    assert why in found.why
    assert bool(found.why) == bool(why)


def test_the_list_is_printed_and_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "first", end="finished")
    write(tmp_path / "sec\x1b[31m\nond\u202e", 2, end="failed", why="Spiked:\x1b[2J step 3")
    main(["runs", str(tmp_path)])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said
    head, *rows = (AT.sub("", line).rstrip() for line in said.splitlines())
    assert head.split() == ["run", "state", "step", "reward", "best", "age"]
    assert {" ".join(row.split()) for row in rows} == {
        "first finished 4/4 0.625 reward 0.625 at 4",
        "sec\\x1b[31m\\nond\\u202e failed 2/4 0.375 reward 0.375 at 2 Spiked:\\x1b[2J step 3",
    }
    main(["runs", str(tmp_path), "--json"])
    assert {run["state"] for run in json.loads(capsys.readouterr().out)} == {"finished", "failed"}
    wide = RunState(folder=tmp_path / ("名" * 90), state="failed", step=7, steps=10**6, best=Best(5, 0.5, "held-out"), why="x" * 500)
    for line in table([wide, state_of(tmp_path / "first")], tmp_path, 80)[1:]:
        assert len(line) + line.count("名") <= 80


@pytest.mark.parametrize("folder", ["missing", "empty", "file"])
def test_a_folder_without_runs_is_said(tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["runs", str(tmp_path / folder)])
    assert ended.value.code == 1
    assert "`gatewise runs FOLDER`" in capsys.readouterr().err


def test_an_error_that_quotes_a_hostile_name_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runs", "no\x1b[2J\u202esuch"])
    assert "gatewise: NoRun: no\\x1b[2J\\u202esuch is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "120 min"), (7_200, "2 h"), (180_000, "2 d")]
)
def test_an_age_has_one_unit(seconds: float, said: str) -> None:
    assert age(1_000_000 - seconds, 1_000_000) == said
    assert age(None) == "-"


def test_a_run_without_its_ledger_has_the_steps_of_its_metrics_and_odd_values_end_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "bad", 2)
    (folder / "ledger.db").unlink()
    odd = [1, None, "x", True, 10**400, float("nan"), [1]]
    lines = [json.dumps({"step": step, "reward/mean": value}) for step, value in enumerate(odd, start=1)]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, "[]", "null", '{"step": "x"}', "[" * 100_000, '{"step": 9']))
    found = state_of(folder)
    assert (found.step, found.reward) == (len(odd), 1.0)
    assert "at step 1 -> 1.000" in "\n".join(summary(folder))


def test_a_folder_of_somebody_else_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine", 2)
    (tmp_path / "theirs").mkdir()
    is_file = Path.is_file

    def forbidden(path: Path) -> bool:
        if path.parent.name == "theirs":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", forbidden)
    assert list(runs_below(tmp_path)) == [tmp_path / "mine"]


def test_lines_that_no_run_wrote_begin_and_end_no_symptom(tmp_path: Path) -> None:
    begun = {"step": 3, "rule": "clipped", "event": "begins", "seen": "much", "advice": "less"}
    odd = [
        {"step": 1, "rule": "other", "event": "ends"},
        {"event": "begins"},
        {"step": "x", "rule": "clipped", "event": "ends"},
        {"warning": "w"},
    ]
    (tmp_path / "health.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*odd, begun]))
    assert [(period.rule, period.first, period.last) for period in read_health(tmp_path)] == [("clipped", 3, None)]


def test_a_copy_of_a_file_of_responses_is_no_step(tmp_path: Path) -> None:
    for name in ("step_000002.jsonl", "step_000010.jsonl", "step_000002 (1).jsonl", "step_x.jsonl", "step_\u00b2.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "step_000003.jsonl").mkdir()
    assert step_files(tmp_path) == [(2, tmp_path / "step_000002.jsonl"), (10, tmp_path / "step_000010.jsonl")]
