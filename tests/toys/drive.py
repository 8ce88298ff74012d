"""Real runs from tests: started as a user starts them, watched from outside, and searched for afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
CONFIG = "configs/tiny_cpu.toml"
MODULE = ("-m", "cluster")
# The console script as pip writes it: it does not look into the current folder.
CONSOLE = ("-c", "import sys; sys.path.remove(''); sys.argv = ['gatewise', *sys.argv[1:]]; from cluster.__main__ import main; main()")
MARK = "GATEWISE_TEST_RUN"
# No report: it is drawn at the end, which each run would wait for.
SMALL = ("rollout.groups_per_step=16", "rollout.group_size=4", "data.eval_limit=64", "run.report=false")
LOOPBACK = ("127.", "::1", "::ffff:127.")


class Driver:
    """One `python -m cluster ...` process, or console script, and everything that came of it."""

    def __init__(
        self, words: Sequence[str], folder: Path, env: dict[str, str] | None = None, cwd: Path = ROOT, start: Sequence[str] = MODULE
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.output = folder / f"output-{self.mark[:8]}.txt"
        whole = {**os.environ, **(env or {}), MARK: self.mark, "PYTHONUNBUFFERED": "1"}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *start, *words],
                cwd=cwd,
                env=whole,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # As a shell starts a command in the background: the hardest case for everything that ends a run.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            )

    def wait(self, timeout: float = 400) -> int:
        return self.process.wait(timeout)

    def text(self) -> str:
        return self.output.read_text()

    def family(self) -> list[psutil.Process]:
        """Every living process that carries this run's mark, the driver included."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def actors(self, name: str) -> list[psutil.Process]:
        """The processes of the actors of a class, the oldest first."""
        found = [process for process in self.family() if f"ray::{name}" in " ".join(process.cmdline())]
        return sorted(found, key=lambda process: process.pid)

    def listening(self) -> list[str]:
        """The addresses on which this run's processes listen."""
        return [f"{c.laddr.ip}:{c.laddr.port}" for p in self.family() for c in connections(p) if c.status == psutil.CONN_LISTEN]

    def wait_for_nobody(self, seconds: float = 30) -> list[str]:
        """What is still alive after `seconds`, empty as soon as nothing is."""
        deadline = time.monotonic() + seconds
        while left := self.family():
            if time.monotonic() > deadline:
                return [f"{p.pid} {' '.join(p.cmdline())[:120]}" for p in left if p.is_running()]
            time.sleep(0.3)
        return []


def connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections("inet"))
    except psutil.Error:
        return []


@contextmanager
def driving(
    words: Sequence[str], folder: Path, env: dict[str, str] | None = None, cwd: Path = ROOT, start: Sequence[str] = MODULE
) -> Iterator[Driver]:
    """A driver that is killed with all its processes when the test is over, however it ends."""
    driver = Driver(words, folder, env, cwd, start)
    try:
        yield driver
    finally:
        for process in driver.family():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
        driver.process.wait(30)


def train(run_dir: Path, *overrides: str) -> list[str]:
    return ["train", CONFIG, f"run.dir={run_dir}", *SMALL, *overrides]


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The metric lines written so far; none where the run has not begun to write."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def wait_for_step(driver: Driver, run_dir: Path, step: int, timeout: float = 240) -> None:
    """Return once `step` has been recorded; fail when the driver ends before."""
    wait_for_row(driver, run_dir, "step", step, timeout)


def wait_for_row(driver: Driver, run_dir: Path, key: str, least: float, timeout: float = 240) -> None:
    """Return once a step has been recorded whose metric `key` is `least` or more; fail when the driver ends before."""
    deadline = time.monotonic() + timeout
    while not any(row.get(key, -1) >= least for row in metrics(run_dir)):
        assert driver.process.poll() is None, f"the driver ended before {key} {least}:\n{driver.text()[-3000:]}"
        assert time.monotonic() < deadline, f"{key} {least} did not come within {timeout} s"
        time.sleep(0.02)


def gpu_box(gpus: int) -> dict[str, str]:
    """The environment of a machine on which Ray and vLLM find GPUs, in every process of a run."""
    paths = [str(ROOT / "tests/toys/gpu_box"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"GATEWISE_TEST_GPUS": str(gpus), "PYTHONPATH": os.pathsep.join(paths)}
