"""A training run from its command line, with the median seconds of its steps and of their stages."""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer import end_of_log, end_tree
from benchmarks.rounds import CONFIG, OUT, ROOT
from cluster.record.metrics.metrics import read_metrics

STAGES = ("generate", "learn", "publish", "save", "evaluate")
LEARNING = ("learn_fetch", "learn_old", "learn_update")
WARM_UP = 4  # steps during which kernels warm up
RUN_S = 900.0
POLL_S = 2.0


def trained(
    steps: int, keys: Sequence[str], what: str, *, warm_up: int = WARM_UP, env: Mapping[str, str] | None = None
) -> dict[str, float]:
    """One run of the tiny recipe with other keys; the medians of its steps after `warm_up`, but for the last, which saves and evaluates."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="step-", dir=OUT) as name:
        folder = Path(name) / "run"
        own = [f"run.dir={folder}", f"run.steps={steps}", "run.eval_every=0"]
        words = [sys.executable, "-m", "cluster", "train", str(CONFIG), *own, *keys]
        log = OUT / "logs" / "step.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            process = subprocess.Popen(
                words, cwd=ROOT, env=os.environ | dict(env or {}), stdout=output, stderr=output, text=True, start_new_session=True
            )
        try:
            watch(process, folder, steps, what)
        finally:
            process.terminate()
            end_tree(process)
        if process.returncode:
            raise RuntimeError(f"the run failed. The end of its output:\n{end_of_log('step')}")
        return describe(folder, range(warm_up, steps))


def watch(process: subprocess.Popen[str], folder: Path, steps: int, what: str) -> None:
    """Wait for the run's end and print its progress now and then; TimeoutError if it takes far too long."""
    deadline, said = time.monotonic() + RUN_S, -1
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} is not done after {RUN_S:g} s")
        done = len(read_metrics(folder)) if (folder / "metrics.jsonl").exists() else 0
        if done != said:
            print(f"  {what}: {'starting' if not done else f'step {max(0, done - 1)}/{steps}'}", flush=True)
            said = done
        time.sleep(POLL_S)


def describe(folder: Path, chosen: Sequence[int]) -> dict[str, float]:
    """Medians over some steps of a run."""
    with sqlite3.connect(folder / "ledger.db") as ledger:
        finished: dict[int, float] = dict(ledger.execute("SELECT step, finished FROM steps WHERE NOT undone"))
    lines: dict[int, dict[str, Any]] = {line["step"]: line for line in read_metrics(folder)}
    step = statistics.median(finished[number] - finished[number - 1] for number in chosen)
    clock = {name: statistics.median(float(lines[n][f"seconds/{name}"]) for n in chosen) for name in ("step", *STAGES, *LEARNING)}
    between = step - clock.pop("step")
    found = {"step": step, **clock, "between laps": between}
    return found | {"updates without a gradient": sum(float(lines[n]["updates_without_signal"]) for n in chosen)}
