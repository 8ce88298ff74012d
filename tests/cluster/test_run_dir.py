import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cluster.record.changes import FIXED, FREE_WITHIN, allowed_changes, flat
from cluster.record.ledger import Ledger, finished_steps
from cluster.record.run_dir import lock_run_dir, never_began, refuse_locked, refuse_other_run, set_aside, write_config
from configs.errors import CheckpointError, RunDirTaken
from configs.loader import load
from configs.schema import Config
from tests.toys.run import finish_step, run_config

HOLDER = """
import sys, time
from pathlib import Path
from cluster.record.run_dir import lock_run_dir
from tests.toys.run import run_config
with lock_run_dir(run_config(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_driver(tmp_path: Path):
    """A process that holds tmp_path as its run directory."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_driver_is_refused_with_the_first_ones_process_and_let_in_when_that_was_killed(
    tmp_path: Path, other_driver: subprocess.Popen[str]
):
    config = run_config(tmp_path)
    with (
        pytest.raises(RunDirTaken, match=rf"in use by another driver \(process {other_driver.pid}\): wait for it, stop it, or"),
        lock_run_dir(config),
    ):
        pass
    other_driver.kill()  # kill -9
    other_driver.wait()
    with lock_run_dir(config) as folder:
        assert folder == tmp_path


def test_the_run_directory_is_let_go_at_the_end_even_of_a_failed_run(tmp_path: Path):
    config = run_config(tmp_path / "new" / "run")
    with pytest.raises(RuntimeError, match="boom"), lock_run_dir(config):
        raise RuntimeError("boom")
    with lock_run_dir(config) as folder:
        assert folder.is_dir()


def test_a_refused_driver_leaves_the_lock_naming_the_one_who_holds_it(tmp_path: Path):
    config = run_config(tmp_path)
    with lock_run_dir(config):
        held = (tmp_path / "lock").read_text()
        with pytest.raises(RunDirTaken), lock_run_dir(config):
            pass
        assert (tmp_path / "lock").read_text() == held


@pytest.mark.parametrize(("resume", "refused"), [("never", True), ("auto", False)])
def test_a_used_run_directory_is_refused_unless_it_is_to_be_continued(tmp_path: Path, resume: str, refused: bool):
    config = run_config(tmp_path, run={"dir": str(tmp_path), "resume": resume})
    refuse_other_run(config)
    write_config(config)
    finish_step(tmp_path)
    if not refused:
        refuse_other_run(config)
        return
    with pytest.raises(RunDirTaken, match=r'already holds a run: choose another run\.dir, or continue it with run\.resume="auto"'):
        refuse_other_run(config)


def test_a_run_directory_whose_run_never_made_a_step_is_used_again_and_nothing_in_it_is_lost(tmp_path: Path):
    config = run_config(tmp_path)
    assert not never_began(tmp_path), "there is no run yet"
    write_config(config)
    Ledger(tmp_path / "ledger.db").close()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "engine-0.log").write_text("why it failed")
    (tmp_path / "mine.jsonl").write_text("{}")
    assert never_began(tmp_path)
    refuse_other_run(config)
    aside = set_aside(tmp_path)
    assert sorted(path.name for path in aside.iterdir()) == ["config.toml", "ledger.db", "logs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl", "unstarted-1"]
    assert (aside / "logs" / "engine-0.log").read_text() == "why it failed"
    write_config(config)
    assert set_aside(tmp_path).name == "unstarted-2"


@pytest.mark.parametrize("left", ["checkpoint", "step"])
def test_a_run_that_left_a_step_or_any_checkpoint_has_begun(tmp_path: Path, left: str):
    write_config(run_config(tmp_path))
    if left == "step":
        finish_step(tmp_path)
        assert finished_steps(tmp_path / "ledger.db") == 1
    else:
        (tmp_path / "checkpoints" / "step_000002").mkdir(parents=True)
    assert not never_began(tmp_path)


def changed(config: Config, key: str, value: object) -> Config:
    section, name = key.split(".")
    table = config.model_dump()
    table[section][name] = value
    return Config.model_validate(table)


def test_the_kept_config_is_the_one_that_was_written(tmp_path: Path):
    config = run_config(tmp_path, rollout={"vllm": {"max_num_seqs": 4}})
    write_config(config)
    kept = load(tmp_path / "config.toml")
    assert kept == config
    assert allowed_changes(kept, config) == []


def test_the_config_of_an_earlier_attempt_is_kept_when_a_later_one_differs(tmp_path: Path):
    first = run_config(tmp_path)
    for config in (first, changed(first, "run.resume", "auto"), changed(first, "run.steps", 9), changed(first, "run.steps", 12)):
        write_config(config)
    assert [load(tmp_path / name).run.steps for name in ("config.1.toml", "config.2.toml", "config.toml")] == [4, 9, 12]


CHANGES = {
    "run.steps": 900, "run.save_every": 3, "run.deadline_s": 5, "run.stop_s": 5, "run.max_staleness": 2, "mismatch.on_alarm": "stop",
    "learner.lr": 3e-4, "learner.warmup_updates": 7, "learner.weight_decay": 0.1, "learner.betas": (0.8, 0.9), "learner.max_grad_norm": 0.5,
    "learner.aux_loss": 0.1, "objective.preset": "gspo", "objective.clip_low": 0.1, "correction.preset": "tis", "kl.reference": "initial",
    "rollout.engines": 3, "rollout.temperature": 0.7, "rollout.group_size": 8, "rollout.groups_per_step": 4, "rollout.cpus_per_engine": 2,
    "learner.schedule": "cosine", "entropy.target": 0.2, "entropy.coefficient": 0.01,
    "reward.range": (-2, 2), "data.eval": "other.jsonl", "data.eval_limit": 3,
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_that_the_state_does_not_belong_to_is_allowed_and_listed(tmp_path: Path, key: str):
    config = run_config(tmp_path, mismatch={"alarm": 0.2})
    before = flat(config.model_dump())[key]
    assert [tuple(change) for change in allowed_changes(config, changed(config, key, CHANGES[key]))] == [(key, before, CHANGES[key])]


@pytest.mark.parametrize(("key", "value"), [("run.resume", "auto"), ("run.dir", "moved"), ("run.from", "x")])
def test_where_a_run_lies_and_began_is_no_change(tmp_path: Path, key: str, value: object):
    config = run_config(tmp_path)
    assert allowed_changes(config, changed(config, key, value)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.path", "other"), ("model.dtype", "bfloat16"), ("data.train", "other.jsonl"), ("data.sampler", "difficulty"),
        ("data.max_prompt_tokens", 12), ("run.seed", 5), ("learner.router", "frozen"),
        ("learner.deepspeed", {"weight_quantization": {"bits": 8}}), ("rollout.vllm", {"kv_cache_dtype": "fp8"}),
    ],
)  # fmt: skip
def test_a_change_that_the_state_belongs_to_is_refused(tmp_path: Path, key: str, value: object):
    config = run_config(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be resumed with another config:\n  \S+: .* in the run, .* now\nset these back, or "):
        allowed_changes(config, changed(config, key, value))


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ({"refresh_every": 3}, {"refresh_every": 0}, "kl.refresh_every"),
        ({"refresh_every": 0}, {"refresh_every": 3}, "kl.refresh_every"),
        ({"refresh_every": 3}, {"refresh_every": 5}, None),
        ({}, {"coefficient": 0.5, "reference": "other"}, None),
    ],
)
def test_a_reference_changes_only_if_no_checkpoint_has_to_contain_it(tmp_path: Path, before: dict, after: dict, key: str | None):
    kept, now = (run_config(tmp_path, kl={"reference": "initial", "coefficient": 0.1} | kl) for kl in (before, after))
    if key is None:
        assert allowed_changes(kept, now)
        return
    with pytest.raises(ValueError, match=rf"cannot be resumed .*\n  {key}: "):
        allowed_changes(kept, now)


def test_every_key_of_the_rules_is_a_key_or_a_table():
    keys = {*flat(run_config(Path("x")).model_dump()), "rollout.vllm", "learner.deepspeed", "model", "data", "data.evals"}
    assert {key for key in (*FIXED, *FREE_WITHIN) if not key.startswith(("rollout.vllm.", "learner.deepspeed."))} <= keys


def test_a_refused_config_names_every_refused_key_and_only_those_and_how_to_begin_a_new_run(tmp_path: Path):
    kept = run_config(tmp_path, rollout={"vllm": {"max_num_seqs": 4, "kv_cache_dtype": "auto"}})
    now = kept
    for key, value in {
        "learner.lr": 3e-4,
        "run.seed": 5,
        "rollout.vllm": {"max_num_seqs": 8, "kv_cache_dtype": "fp8"},
        "run.steps": 77,
    }.items():
        now = changed(now, key, value)
    with pytest.raises(ValueError, match="cannot be resumed with another config") as refused:
        allowed_changes(kept, now)
    assert [line.strip() for line in str(refused.value).splitlines()[1:]] == [
        "rollout.vllm.kv_cache_dtype: 'auto' in the run, 'fp8' now",
        "run.seed: 0 in the run, 5 now",
        f'set these back, or begin a new run from its weights with run.from="{tmp_path}" and another run.dir',
    ]
    with pytest.raises(
        ValueError, match=r"export it \(python -m cluster export\) and begin a new run .* model\.path = the exported folder"
    ):
        allowed_changes(kept, changed(kept, "learner.router", "frozen"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def refuses(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    config = run_config(tmp_path / "run")
    refuse_locked(config)  # nothing to lock yet
    monkeypatch.setattr(fcntl, "flock", refuses)
    said = rf"without file locks \(flock: {os.strerror(number)}\).*choose a run.dir on a disk of this machine, or mount"
    with pytest.raises(RunDirTaken, match=said), lock_run_dir(config):
        pass
    with pytest.raises(RunDirTaken, match=said):
        refuse_locked(config)


def test_a_ledger_without_a_write_ahead_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with closing(Ledger(tmp_path / "ledger.db")):
        pass
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    whole = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: whole(path, **options, factory=WithoutSharedMemory))
    with pytest.raises(CheckpointError, match=r"SQLite has no write-ahead log \(journal mode delete\).*choose a run.dir on a disk of this"):
        Ledger(tmp_path / "ledger.db")


class WithoutSharedMemory(sqlite3.Connection):
    """A database on a file system that cannot share memory: SQLite keeps the journal mode that it had."""

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        return super().execute(statement.replace("journal_mode = WAL", "journal_mode"), *values)
