"""A training run from its command to its first step, against the imports of its processes alone.

The reference starts one fresh interpreter for each process of the run that imports large libraries, all at once, and waits for the last.
Seconds depend on what else the machine does; CPU seconds, of every process of a side together, hardly do.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peer import end_of_log, end_tree
from benchmarks.rounds import CONFIG, OUT, ROOT, Row, Size, alternate, figures, ratio
from cluster.record.metrics.metrics import read_metrics

IMPORTS = {
    "driver": "import cluster.commands.train, transformers, torch",
    "engine": "import ray, rollout.engine.engine",
    "core": "import vllm.v1.engine.core, vllm.v1.worker.cpu_worker, rollout.worker.weight_receiver",
    "rank": "import ray, learner.learner",
}
STAGES = {"starting engines": "actors begin", "identity publish": "actors ready", "before training": "first evaluation"}
LONGEST_S = 300.0
POLL_S = 0.02


def measure(size: Size) -> list[Row]:
    """Starts and imports in turns; a start takes long, so there are fewer rounds than elsewhere."""
    rounds = Size(warm_up=1, rounds=max(2, size.rounds // 2), steps=size.steps, runs=size.runs)
    kept = alternate({"imports": imported, "start": started}, rounds)
    of_run, alone = kept["start"], kept["imports"]
    return [
        ratio("command to first step / the imports alone", seconds(of_run), seconds(alone)),
        ratio("CPU seconds of it / of the imports alone", seconds(of_run, "cpu"), seconds(alone, "cpu")),
        *(figures(f"start: command to {name}", "s", of_run, name) for name in STAGES.values()),
        figures("start: command to first step", "s", of_run, "seconds"),
        figures("start: CPU seconds", "s", of_run, "cpu"),
        figures("imports", "s", alone, "seconds"),
        figures("imports: CPU seconds", "s", alone, "cpu"),
    ]


def seconds(answers: Sequence[dict[str, Any]], key: str = "seconds") -> list[float]:
    return [float(answer[key]) for answer in answers]


def imported(_: int) -> dict[str, Any]:
    """Every process's imports at once."""
    env = os.environ | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}
    before, began = os.times(), time.perf_counter()
    alive = {role: subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env) for role, code in IMPORTS.items()}
    if failed := [role for role, process in alive.items() if process.wait(LONGEST_S)]:
        raise RuntimeError(f"the imports of {', '.join(failed)} failed: see above")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.perf_counter() - began, "cpu": cpu}


def started(_: int) -> dict[str, Any]:
    """A run of the tiny recipe until its first step is recorded; then it is asked to stop."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="start-", dir=OUT) as name:
        folder, log = Path(name) / "run", OUT / "logs" / "start.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "cluster", "train", str(CONFIG), f"run.dir={folder}"]
        with log.open("w") as output:
            began = time.perf_counter()
            process = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=output, text=True, start_new_session=True)
        try:
            return watch(process, folder, log, began)
        finally:
            process.terminate()
            end_tree(process)


def watch(process: subprocess.Popen[str], folder: Path, log: Path, began: float) -> dict[str, Any]:
    """When each stage of the start was over, until the first step is; RuntimeError if the run ends before."""
    found: dict[str, Any] = {}
    while process.poll() is None and time.perf_counter() - began < LONGEST_S:
        said = log.read_text(errors="replace")
        now = time.perf_counter() - began
        found |= {name: now for words, name in STAGES.items() if name not in found and words in said}
        if (folder / "metrics.jsonl").exists() and any(line["step"] == 1 for line in read_metrics(folder)):
            return {**found, "seconds": now, "cpu": cpu_of_tree(process.pid)}
        time.sleep(POLL_S)
    raise RuntimeError(
        f"the run has no first step after {time.perf_counter() - began:.0f} s. The end of its output:\n{end_of_log('start')}"
    )


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process and of all that it started and that are alive, or were waited for by their parent."""
    total = 0.0
    root = psutil.Process(pid)
    for member in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(member.cpu_times()[:4])
    return total
