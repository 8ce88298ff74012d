"""A training step against its stages, in real runs with and without stale generation.

A run's own clock attributes all waiting of a step, so its laps always add up to the step. Here a step is the time between two entries
of the ledger, and overlapping stages are compared with those of the runs without overlap.
"""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer import end_of_log, end_tree
from benchmarks.rounds import CONFIG, OUT, ROOT, Row, Size
from cluster.record.metrics.metrics import read_metrics

STAGES = ("generate", "learn", "publish", "save", "evaluate")
LEARNING = ("learn_fetch", "learn_old", "learn_update")
WARM_UP = 4  # steps during which kernels warm up
RUN_S = 900.0
POLL_S = 2.0


def measure(size: Size) -> list[Row]:
    """Short runs with staleness 0 and 1 in turns; each row has one figure per run."""
    alternating: list[dict[str, float]] = []
    overlapping: list[dict[str, float]] = []
    for number in range(size.runs):
        for staleness, kept in ((0, alternating), (1, overlapping)):
            kept.append(train(size.steps, staleness, f"run {number + 1}/{size.runs} with run.max_staleness={staleness}"))
    sums = [sum(run[stage] for stage in STAGES) for run in alternating]
    largest = [max(run[stage] for stage in STAGES) for run in alternating]
    busy = [max(run["generate"], run["learn"] + run["publish"]) for run in alternating]
    rows = []
    for staleness, runs in ((0, alternating), (1, overlapping)):
        steps = [run["step"] for run in runs]
        rows += [
            Row(what=f"staleness {staleness}: step / sum of stages of staleness 0", unit="x", values=over(steps, sums)),
            Row(what=f"staleness {staleness}: step / largest stage of staleness 0", unit="x", values=over(steps, largest)),
            Row(what=f"staleness {staleness}: step", unit="s", values=steps),
            *(
                Row(what=f"staleness {staleness}: {name}", unit="s", values=[run[name] for run in runs])
                for name in runs[0]
                if name != "step"
            ),
        ]
    ahead = [run["step"] for run in overlapping]
    return [
        *rows,
        Row(what="step, staleness 1 / staleness 0", unit="x", values=over(ahead, [run["step"] for run in alternating])),
        Row(what="staleness 1: step / max(generate, learn + publish) of staleness 0", unit="x", values=over(ahead, busy)),
    ]


def over(values: Sequence[float], references: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(values, references, strict=True)]


def train(steps: int, staleness: int, what: str) -> dict[str, float]:
    """One run of the tiny recipe from its command line; the median seconds of its steps and of their stages."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="step-", dir=OUT) as name:
        folder = Path(name) / "run"
        keys = {"run.dir": folder, "run.steps": steps, "run.eval_every": 0, "run.max_staleness": staleness}
        words = [sys.executable, "-m", "cluster", "train", str(CONFIG), *(f"{key}={value}" for key, value in keys.items())]
        log = OUT / "logs" / "step.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            process = subprocess.Popen(words, cwd=ROOT, env=os.environ, stdout=output, stderr=output, text=True, start_new_session=True)
        try:
            watch(process, folder, steps, what)
        finally:
            process.terminate()
            end_tree(process)
        if process.returncode:
            raise RuntimeError(f"the run failed. The end of its output:\n{end_of_log('step')}")
        return describe(folder, steps)


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


def describe(folder: Path, steps: int) -> dict[str, float]:
    """Medians over the steps after warm-up, without the last one, which saves and evaluates."""
    with sqlite3.connect(folder / "ledger.db") as ledger:
        finished: dict[int, float] = dict(ledger.execute("SELECT step, finished FROM steps WHERE NOT undone"))
    chosen = range(WARM_UP, steps)
    lines: dict[int, dict[str, Any]] = {line["step"]: line for line in read_metrics(folder)}
    step = statistics.median(finished[number] - finished[number - 1] for number in chosen)
    clock = {name: statistics.median(float(lines[n][f"seconds/{name}"]) for n in chosen) for name in ("step", *STAGES, *LEARNING)}
    between = step - clock.pop("step")
    return {"step": step, **clock, "between laps": between}
