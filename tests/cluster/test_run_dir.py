import subprocess
import sys
from pathlib import Path

import pytest

from cluster.record.run_dir import FREE_TO_CHANGE, flat, lock_run_dir, refuse_changed_config, refuse_other_run, write_config
from configs.errors import RunDirTaken
from configs.loader import load
from configs.schema import Config
from tests.toys.run import run_config

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
    if not refused:
        refuse_other_run(config)
        return
    with pytest.raises(RunDirTaken, match=r'already holds a run: choose another run\.dir, or continue it with run\.resume="auto"'):
        refuse_other_run(config)


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
    refuse_changed_config(kept, config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run.steps", 900), ("run.resume", "auto"), ("run.dir", "moved"), ("run.save_every", 3), ("run.keep_checkpoints", 9),
        ("run.eval_every", 7), ("run.sample_responses", 0), ("run.tensorboard", True), ("run.deadline_s", 5),
        ("mismatch.share", 0.5), ("mismatch.alarm", 0.1), ("mismatch.patience", 9), ("mismatch.on_alarm", "stop"),
    ],
)  # fmt: skip
def test_what_a_run_does_not_learn_from_may_change(tmp_path: Path, key: str, value: object):
    config = run_config(tmp_path, mismatch={"alarm": 0.2})
    refuse_changed_config(config, changed(config, key, value))


def test_every_free_key_is_a_key():
    assert set(FREE_TO_CHANGE) <= set(flat(run_config(Path("x")).model_dump()))


def test_a_changed_config_is_refused_with_every_difference_and_only_those(tmp_path: Path):
    kept = run_config(tmp_path, rollout={"vllm": {"max_num_seqs": 4}})
    now = kept
    for key, value in {"learner.lr": 3e-4, "run.seed": 5, "rollout.vllm": {"max_num_seqs": 8}, "run.steps": 77}.items():
        now = changed(now, key, value)
    with pytest.raises(ValueError, match="cannot be resumed with another config") as refused:
        refuse_changed_config(kept, now)
    assert [line.strip() for line in str(refused.value).splitlines()[1:-1]] == [
        "learner.lr: 1e-06 in the run, 0.0003 now",
        "rollout.vllm.max_num_seqs: 4 in the run, 8 now",
        "run.seed: 0 in the run, 5 now",
    ]
