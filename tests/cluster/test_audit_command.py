"""`gatewise audit`: its exit status, what it refuses, rewards scored again, and runs that are at work, killed or from an older version."""

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import gatewise
from cluster.cli import main
from cluster.record.audit.account import read_account
from cluster.record.audit.audit import audit, read_run
from cluster.record.audit.files import Files, read_files
from cluster.record.ledger import Ledger
from configs.errors import CheckpointError
from configs.loader import dump, load
from tests.cluster.test_audit import CUT, experts, lines, run, sql, whole  # noqa: F401 - fixtures
from tests.toys.controller import train

Change = Callable[[Path], object]
NAMES = ["conservation", "exactly once", "staleness", "provenance", "rewards", "metrics", "checkpoints", "events"]
pytestmark = pytest.mark.timeout(60)


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as status:
        main(["audit", *map(str, arguments)])
    return int(str(status.value.code))


def test_a_sound_run_is_printed_with_its_counts(capsys: pytest.CaptureFixture[str], run: Path) -> None:  # noqa: F811
    main(["audit", str(run)])
    said = capsys.readouterr().out.splitlines()
    assert [line[:14].strip() for line in said] == NAMES
    assert all(line[15:20] == "holds" and "0 violations" in line for line in said)
    assert "scored again" in said[4]
    assert gatewise.audit(run, rescore=False, progress=False)[0]["holds"] is True


def test_a_violation_ends_with_1_and_names_it(capsys: pytest.CaptureFixture[str], run: Path) -> None:  # noqa: F811
    sql("UPDATE publishes SET weights = 'wrong' WHERE version > 2")(run)
    assert ended(run, "--no-rescore") == 1
    said = capsys.readouterr()
    assert "provenance     VIOLATED" in said.out
    assert "… and" in said.out
    assert "not checked: nothing was scored again, as asked for" in said.out
    assert said.err.splitlines()[-1].startswith("gatewise: InvariantViolated: 26 violations of provenance")
    assert ended(run, "--no-rescore", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is False
    assert [one["name"] for one in found["invariants"]] == NAMES
    assert len(found["invariants"][3]["violations"]) == 26
    assert ended(run, "--no-rescore", "--all") == 1
    assert "… and" not in capsys.readouterr().out


def no_run(folder: Path) -> None:
    shutil.rmtree(folder)


def other_database(folder: Path) -> None:
    (folder / "ledger.db").unlink()
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("CREATE TABLE songs (name TEXT)")


REFUSED: dict[str, tuple[Change, str]] = {
    "nothing there": (no_run, "is no folder"),
    "a file": (lambda folder: (no_run(folder), folder.write_text("")), "is a file"),
    "an empty folder": (lambda folder: (no_run(folder), folder.mkdir()), "holds no run: it has no config.toml"),
    "no ledger": (lambda folder: (folder / "ledger.db").unlink(), "has no ledger.db"),
    "a folder as ledger": (lambda folder: ((folder / "ledger.db").unlink(), (folder / "ledger.db").mkdir()), "has no ledger.db"),
    "zero bytes": (lambda folder: (folder / "ledger.db").write_bytes(b""), "is empty"),
    "text as ledger": (lambda folder: (folder / "ledger.db").write_bytes(b"junk" * 2000), "is no ledger, or is damaged (file is not a"),
    "half a ledger": (
        lambda folder: (folder / "ledger.db").write_bytes((folder / "ledger.db").read_bytes()[:9000]),
        "is damaged (database",
    ),
    "another database": (other_database, "is no ledger: it has no table attempts, groups, steps"),
    "a newer version": (sql("PRAGMA user_version = 9"), "has schema 9, and this version knows schemas up to 1"),
    "words for numbers": (sql("UPDATE groups SET step = 'three' WHERE step = 3"), "which no run wrote"),
    "a list for a number": (sql("UPDATE attempts SET pending = 7"), "is damaged ('int' object"),
    "no JSON": (sql("UPDATE attempts SET settings = '{'"), "is damaged (Expecting"),
    "settings of something else": (sql("UPDATE attempts SET settings = '{}'"), "is damaged (Settings"),
    "no config": (lambda folder: (folder / "config.toml").write_text(""), "model.path: missing"),
    "a broken config": (lambda folder: (folder / "config.toml").write_text("[run"), "config.toml"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_run_ends_with_2_and_says_why(
    capsys: pytest.CaptureFixture[str],
    run: Path,  # noqa: F811
    change: Change,
    said: str,
) -> None:
    change(run)
    assert ended(run, "--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    with pytest.raises(gatewise.InputError):
        gatewise.audit(run)


def test_a_folder_within_a_run_is_told_from_the_run(capsys: pytest.CaptureFixture[str], run: Path) -> None:  # noqa: F811
    assert ended(run / "checkpoints" / "step_000009") == 2
    assert f"the run is {run}" in capsys.readouterr().err


def rescored(folder: Path) -> tuple[list[str], list[str]]:
    found = next(one for one in gatewise.audit(folder, progress=False) if one["name"] == "rewards")
    return found["violations"], found["unchecked"]


def configured(folder: Path, *overrides: str) -> None:
    (folder / "config.toml").write_text(dump(load(folder / "config.toml", overrides)))


def other_answer(rows: list[str]) -> list[str]:
    first = json.loads(rows[0])
    return [json.dumps(first | {"response": "0" if first["reward"] else "1"}) + "\n", *rows[1:]]


def other_checker(rows: list[str]) -> list[str]:
    return [json.dumps(json.loads(rows[0]) | {"checker": "os:system"}) + "\n", *rows[1:]]


def test_a_reward_that_its_checker_does_not_give_again_is_found(run: Path) -> None:  # noqa: F811
    lines("responses/step_000003.jsonl", other_answer)(run)
    violations, unchecked = rescored(run)
    assert len(violations) == 1
    assert violations[0].startswith("step 3, group ")
    assert unchecked == []


def test_a_row_does_not_choose_what_code_runs(run: Path) -> None:  # noqa: F811
    lines("responses/step_000003.jsonl", other_checker)(run)
    violations, _ = rescored(run)
    assert [text for text in violations if "checker os:system: the run's config names no such code" in text]


JUDGE = ("reward.checker=judge", "judge.url=http://127.0.0.1:9/v1", "judge.model=m", "run.deadline_s=900")
NOT_AGAIN: dict[str, tuple[Change, str]] = {
    "a service": (lambda folder: configured(folder, *JUDGE), "judge is a service; `rewards audit` asks it again"),
    "other rewards since": (sql("INSERT INTO changes VALUES (2, 'reward.overlong', 'null', '1')"), "attempt 2 changed reward.overlong"),
    "an older version": (lines("responses/*", lambda rows: ['{"group": 0, "member": 0}\n', *rows[1:]]), "an older version wrote it"),
    "code that is gone": (lambda folder: configured(folder, "reward.checker=no_such_module:score"), "the scorer does not start"),
}


@pytest.mark.parametrize(("change", "said"), NOT_AGAIN.values(), ids=NOT_AGAIN)
def test_rewards_that_cannot_be_scored_again_are_named_with_the_reason(run: Path, change: Change, said: str) -> None:  # noqa: F811
    change(run)
    assert said in " ".join(rescored(run)[1])


def as_of_0_8(folder: Path) -> None:
    """The ledger as version 0.8 wrote it."""
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        for table, columns in {"attempts": ("next_group", "pending", "settings"), "groups": ("life", "unscored")}.items():
            for column in columns:
                db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("DROP TABLE publishes")
        db.execute("DROP TABLE events")
        db.execute("PRAGMA user_version = 0")


def test_a_run_of_an_older_version_is_audited_as_far_as_it_goes(run: Path) -> None:  # noqa: F811
    as_of_0_8(run)
    found = {one.name: one for one in audit(run)}
    assert [text for one in found.values() for text in one.violations] == []
    assert found["conservation"].unchecked == ["attempts 1, 2: an older version recorded no positions, so pending groups were not compared"]
    assert (found["provenance"].checked, len(found["provenance"].unchecked)) == (0, 1)
    sql("UPDATE groups SET oldest_version = 0 WHERE step = 12", "DELETE FROM groups WHERE group_id = 5")(run)
    assert {"conservation", "staleness"} <= {one.name for one in audit(run) if not one.holds}


def test_a_changed_bound_is_that_of_its_attempt_in_older_runs(run: Path) -> None:  # noqa: F811
    as_of_0_8(run)
    configured(run, "run.max_staleness=0")
    assert not audit(run)[2].holds
    with closing(sqlite3.connect(run / "ledger.db")) as db:
        db.execute("INSERT INTO changes VALUES (2, 'run.max_staleness', '1', '0')")
        db.commit()
    accused = {text.split("(")[1].split(")")[0] for text in audit(run)[2].violations}
    assert accused <= {"attempt 2"}


def test_a_run_that_continues_the_checkpoint_of_another_begins_there(run: Path) -> None:  # noqa: F811
    tables = ("groups", "steps", "publishes", "attempts")
    deleted = [f"DELETE FROM {table} WHERE attempt = 1" for table in tables]
    sql(*deleted, *(f"UPDATE {table} SET attempt = 1" for table in tables))(run)
    for name in ("metrics.jsonl", "layers.jsonl"):
        lines(name, lambda rows: rows[CUT:])(run)
    experts(lambda steps: steps[CUT:].tolist())(run)
    for path in run.glob("responses/*"):
        path.unlink() if int(path.stem[5:]) <= CUT else None
    for step in (3, 6):
        shutil.rmtree(run / f"checkpoints/step_{step:06d}")
    found = audit(run)
    assert [text for one in found for text in one.violations] == []
    assert found[0].found["learned"] == 9 * 4
    sql("DELETE FROM groups WHERE step = 12")(run)
    assert not audit(run)[0].holds


def test_an_older_ledger_is_continued_with_what_the_audit_needs(run: Path) -> None:  # noqa: F811
    as_of_0_8(run)
    with closing(Ledger(run / "ledger.db")) as ledger:
        ledger.begin(18, 130, [120])
    account = read_account(run / "ledger.db", None)
    assert account.older == [1, 2]
    assert account.attempts[-1] == (3, 18, 130, frozenset([120]))


def test_a_newer_ledger_is_not_continued(run: Path) -> None:  # noqa: F811
    sql("PRAGMA user_version = 9")(run)
    with pytest.raises(CheckpointError, match="has schema 9"):
        Ledger(run / "ledger.db")


def test_a_run_is_audited_again_and_again_while_it_works(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    failed: list[BaseException] = []

    def work() -> None:
        try:
            train(folder, 0, staleness=1, sampler="uniform")
            train(folder, 0, staleness=1, sampler="uniform", resume=15)
        except BaseException as error:
            failed.append(error)

    running = threading.Thread(target=work)
    running.start()
    audits = 0
    while running.is_alive():
        if (folder / "metrics.jsonl").is_file():
            assert [text for one in audit(folder) for text in one.violations] == []
            audits += 1
    running.join()
    assert failed == []
    assert audits > 3


def test_files_of_before_an_attempts_first_step_are_read_anew_beside_a_ledger_of_after_it(
    run: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(Ledger(run / "ledger.db")) as ledger:
        ledger.begin(15, 130, [])
    seen: list[Files] = []

    def slow(folder: Path) -> Files:
        seen.append(read_files(folder))
        if len(seen) == 1:
            sql("INSERT INTO steps (step, attempt, undone, weights, finished) VALUES (16, 3, 0, 'w', 1)")(run)
        return seen[-1]

    monkeypatch.setattr("cluster.record.audit.audit.read_files", slow)
    account, files, _ = read_run(run, load(run / "config.toml"))
    assert account.begun == (3, True)
    assert files is seen[1]
    assert len(seen) == 2


def test_a_killed_run_is_read_with_the_log_that_it_left(run: Path, tmp_path: Path) -> None:  # noqa: F811
    with closing(Ledger(run / "ledger.db")) as ledger:
        ledger.event("died", "engine 0", "killed")
        copy = shutil.copytree(run, tmp_path / "killed")
    (copy / "ledger.db-shm").unlink()
    copy.chmod(0o555)
    before = sorted(path.name for path in copy.iterdir())
    assert audit(copy)[-1].found["died"] == 1
    copy.chmod(0o755)
    assert set(before) <= {path.name for path in copy.iterdir()} <= {*before, "ledger.db-shm"}
