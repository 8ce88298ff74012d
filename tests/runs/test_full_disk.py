"""A real run on a small disk of its own that is filled up and freed again, stopped in the middle of it, continued, and preempted."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.record.checkpoint import Checkpoints, faults
from configs.loader import load
from tests.toys.drive import Driver, driving, metrics, train, wait_for_step

pytestmark = pytest.mark.end_to_end

SIZE = "160m"  # ten checkpoints
GRACE_S = 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few checkpoints, which takes root to make."""
    if os.geteuid() or (mount := shutil.which("mount")) is None:
        pytest.skip("only root can mount a disk")
    if subprocess.run([mount, "-t", "tmpfs", "-o", f"size={SIZE}", "none", tmp_path], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(disk: Path) -> Path:
    """Take every byte that is free."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


def said(driver: Driver, text: str, times: int, within_s: float = 60) -> None:
    """Return once a line has been said so often."""
    deadline = time.monotonic() + within_s
    while driver.text().count(text) < times:
        assert driver.process.poll() is None, driver.text()[-3000:]
        assert time.monotonic() < deadline, driver.text()[-3000:]
        time.sleep(0.05)


def saved_after(step: int, driver: Driver, run: Path, within_s: float = 60) -> None:
    """Return once there is a checkpoint of a later step."""
    deadline = time.monotonic() + within_s
    while int(max((run / "checkpoints").glob("step_*")).name[5:]) <= step:
        assert driver.process.poll() is None, driver.text()[-3000:]
        assert time.monotonic() < deadline, f"no checkpoint after step {step}: {driver.text()[-3000:]}"
        time.sleep(0.05)


def saved(run: Path) -> dict[str, list[str]]:
    """The checkpoints of a run with what is wrong with each, and whatever else lies beside them."""
    return {path.name: faults(path) for path in sorted((run / "checkpoints").glob("step_*"))}


def test_a_full_disk_ends_no_run_and_costs_no_checkpoint(small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run, outside = small_disk / "run", tmp_path_factory.mktemp("outside")
    settings = ("run.save_every=2", "run.eval_every=0", "data.eval_limit=16", "run.tensorboard=true")
    with driving(train(run, "run.steps=2000", *settings), outside) as driver:
        wait_for_step(driver, run, 3)
        filler = fill(small_disk)
        said(driver, " is not saved, the newest checkpoint is that of step ", 4)
        said(driver, "lines of metrics.jsonl cannot be written yet", 2)
        assert list(saved(run).values()) in ([[]], [[], []]), "nothing half-written lies beside the whole ones"
        filler.unlink()
        wait_for_step(driver, run, metrics(run)[-1]["step"] + 6)
        saved_after(4, driver, run)  # the lines that were held may be six, all written at once
        steps = [row["step"] for row in metrics(run)]
        assert steps == list(range(len(steps))), "no line is lost"
        fill(small_disk)
        said(driver, " is not saved, the newest checkpoint is that of step ", driver.text().count(" is not saved, ") + 2)
        kept = saved(run)
        driver.process.send_signal(signal.SIGTERM)
        assert driver.wait(90) == 1
        *_, how, cause = driver.text().strip().splitlines()
        assert "gatewise: NotSaved: the newest checkpoint is that of step " in cause
        assert "disk full" in cause
        assert f"gatewise: step {int(max(kept)[5:])} is saved; to continue after it: " in how
        assert driver.wait_for_nobody() == []
    assert saved(run) == kept
    assert set().union(*kept.values()) == set()
    filler.unlink()
    step = metrics(run)[-1]["step"]  # of the driver before: the next one learns some of them again
    with driving(train(run, "run.steps=2000", *settings, "run.resume=auto", f"run.grace_s={GRACE_S}"), outside) as driver:
        wait_for_step(driver, run, step + 3)
        started = time.monotonic()
        driver.process.send_signal(signal.SIGTERM)
        assert driver.wait(90) == 128 + signal.SIGTERM, driver.text()[-3000:]
        assert time.monotonic() - started < GRACE_S
        assert f"within run.grace_s ({GRACE_S} s)" in driver.text()
    newest = Checkpoints(load(run / "config.toml")).newest()
    assert newest is not None
    assert int(newest.name[5:]) >= step + 3
