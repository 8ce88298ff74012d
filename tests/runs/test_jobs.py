"""`ray job submit` against a real `ray start --head`: a good job succeeds with its reward risen, a bad one fails with its cause last.

`gatewise doctor` then looks at a second node.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.toys.drive import MARK, ROOT, metrics

pytestmark = pytest.mark.end_to_end

BIN = Path(sys.executable).parent
ACTORS = re.compile(r"EngineActor|LearnerActor|RewardActor|EngineCore|reward\.worker")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A one-node Ray cluster with token authentication, as a user starts one, with GPUs that the installed packages cannot use."""

    def __init__(self, folder: Path) -> None:
        self.mark, self.dashboard, self.address = secrets.token_hex(8), free_port(), f"127.0.0.1:{free_port()}"
        self.env = {
            **os.environ,
            MARK: self.mark,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "PYTHONUNBUFFERED": "1",
        }
        self.env.pop("RAY_ADDRESS", None)
        ports = [
            f"--port={self.address.partition(':')[2]}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--dashboard-port={self.dashboard}",
        ]
        self.ray("start", "--head", "--num-cpus=2", "--num-gpus=2", "--disable-usage-stats", f"--temp-dir={folder}", *ports, timeout=120)

    def ray(self, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run([BIN / "ray", *words], cwd=ROOT, env=self.env, text=True, capture_output=True, timeout=timeout, check=False)

    def submit(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        address = f"--address=http://127.0.0.1:{self.dashboard}"
        data = [f"{key}={ROOT / '.cache/tiny' / rest}" for key, rest in PATHS.items()]
        command = ["python", "-m", "cluster", "train", "configs/tiny_cpu.toml", *data, *overrides]
        deadline = time.monotonic() + 90
        while True:
            done = self.ray("job", "submit", address, "--working-dir", ".", "--", *command, timeout=400)
            # A head that has just started refuses jobs until its agent has registered.
            if "No available agent" not in done.stdout + done.stderr or time.monotonic() > deadline:
                return done
            time.sleep(2)

    def family(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def stop(self) -> None:
        for process in self.family():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue


PATHS = {"model.path": "model", "data.train": "train.jsonl", "data.eval": "eval.jsonl"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Ray's sockets need a short path.
    folder = Path(f"/tmp/gw-{secrets.token_hex(3)}")
    cluster = Cluster(folder)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)  # a process on its way out may still write its last log line


def test_a_submitted_job_succeeds_with_its_reward_risen(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    own = "reward.checker=tests/toys/own_exact.py:score"  # relative to the working directory that was shipped
    done = cluster.submit(f"run.dir={run}", "run.steps=12", "learner.lr=3e-4", "run.eval_every=0", "data.eval_limit=32", own)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "succeeded" in done.stdout
    assert "cannot use the 2 GPUs that are there" in done.stdout, "the GPUs of the cluster are left alone by a driver with the CPU packages"
    rewards = [row["reward/mean"] for row in metrics(run) if row["step"] > 0]
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.05
    left = [p for p in cluster.family() if ACTORS.search(" ".join(p.cmdline()))]
    assert left == [], "the cluster lives on without the run's actors"


def test_a_failing_job_fails_with_its_cause_last(cluster: Cluster, tmp_path: Path) -> None:
    failed = cluster.submit(f"run.dir={tmp_path / 'run'}", "reward.checker=tests/toys/own_exact.py:missing")
    assert failed.returncode != 0
    assert "failed" in failed.stdout.lower() + failed.stderr.lower()
    said = [line for line in failed.stdout.splitlines() if line.strip() and not re.search(r"Job '|---|Tailing|Status|entrypoint", line)]
    assert any("gatewise: " in line and "own_exact.py" in line and "missing" in line for line in said[-3:]), failed.stdout[-3000:]
    assert "Traceback" not in failed.stdout


def test_the_doctor_finds_the_fault_of_another_node(cluster: Cluster, tmp_path: Path) -> None:
    """The second node runs on this machine, with a variable that names no interface."""
    faulty = {**cluster.env, "NCCL_SOCKET_IFNAME": "no0"}
    start = [BIN / "ray", "start", f"--address={cluster.address}", "--num-cpus=0", "--disable-usage-stats"]
    subprocess.run(start, cwd=ROOT, env=faulty, capture_output=True, timeout=120, check=True)
    command = [sys.executable, "-m", "cluster", "doctor", "configs/tiny_cpu.toml", f"run.dir={tmp_path / 'run'}", "--json"]
    env = {**cluster.env, "RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr[-2000:]
    found = json.loads(done.stdout)
    wrong = [row for row in found if row["status"] == "error"]
    assert [(row["name"], bool(row["node"])) for row in wrong] == [("network", True)], wrong
    assert "NCCL_SOCKET_IFNAME=no0 names no interface of this machine" in wrong[0]["found"]
    on_node = {row["name"]: row["status"] for row in found if row["node"]}
    assert (on_node["clock"], on_node["shared path"], on_node["versions"]) == ("ok", "ok", "ok")
    assert cluster.env["RAY_AUTH_TOKEN"] not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
