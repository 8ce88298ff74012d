"""docs/slurm.sh, run with stand-ins for Slurm's commands and Ray's: what it starts, and what it does with Slurm's signal."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "slurm.sh"
COMMANDS = {
    "scontrol": 'echo "scontrol $*" >> "$LOG"; [ "$1" = show ] && printf "node1\\nnode2\\n"; exit 0',
    # The address, or the step: what follows the two dashes runs as the first node would run it.
    "srun": 'case "$*" in *hostname*) echo "127.0.1.1 10.0.0.7";; *) while [ "$1" != "$RAY" ]; do shift; done; exec "$@";; esac',
    "ray": 'echo "ray $*" >> "$LOG"; while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "python": 'case "$*" in *secrets*) echo 0123; exit;; esac; '
    'echo "driver $RAY_ADDRESS $RAY_AUTH_MODE $RAY_AUTH_TOKEN $*" >> "$LOG"; exec "$DRIVER"',
    "driver": 'trap "echo saved >> $LOG; exit 143" TERM; for i in $(seq 300); do sleep 0.1; done',
}


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment in which Slurm's and Ray's commands are toys that write to a log."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    toys = {"RAY": str(folder / "ray"), "DRIVER": str(folder / "driver"), "GATEWISE_PYTHON": str(folder / "python")}
    return {"PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(tmp_path / "log"), **toys, **slurm}


def started(cluster: dict[str, str], folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["bash", SCRIPT, "mine.toml", "run.steps=3"], env=cluster, cwd=folder)


def logged(cluster: dict[str, str]) -> str:
    return Path(cluster["LOG"]).read_text()


def test_the_driver_joins_the_cluster_that_the_job_starts(cluster: dict[str, str], tmp_path: Path) -> None:
    Path(cluster["DRIVER"]).write_text("#!/bin/bash\nexit 3\n")
    assert started(cluster, tmp_path).wait(30) == 3
    assert "symmetric-run --address 10.0.0.7:6379 --min-nodes 2 --" in logged(cluster)
    assert "driver 10.0.0.7:6379 token 0123 -m cluster train mine.toml run.resume=auto run.grace_s=240 run.steps=3" in logged(cluster)
    assert "requeue" not in logged(cluster)


def test_the_signal_reaches_the_driver_alone_and_the_job_queues_again(cluster: dict[str, str], tmp_path: Path) -> None:
    job = started(cluster, tmp_path)
    for _ in range(400):
        if Path(cluster["LOG"]).exists() and "driver" in logged(cluster):
            break
        time.sleep(0.05)
    time.sleep(0.3)  # the toy driver sets its trap
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 143
    assert "saved" in logged(cluster)
    assert "scontrol requeue 17" in logged(cluster)
    assert not list(tmp_path.glob(".gatewise-*"))


def test_a_job_without_a_config_says_what_is_needed(cluster: dict[str, str], tmp_path: Path) -> None:
    ended = subprocess.run(["bash", SCRIPT], env=cluster, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "give a config: sbatch docs/slurm.sh CONFIG" in ended.stderr
