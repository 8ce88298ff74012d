"""Many small trainings, a few at a time, each in its own process and each made only once."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.experiments.trial import Curve, Trial, work

# Imported once, by the process that forks all trainings: the import takes as long as ten steps.
IMPORTED = ["benchmarks.experiments.laboratory", "transformers.models.qwen3_moe.modeling_qwen3_moe"]
# Set in this process before it imports torch, and inherited by all trainings.
ENVIRONMENT = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
POLL_S = 0.2
TAIL = 1500  # characters of a failed training's output that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running training, in its own process so that its memory and its process group end with it."""

    trial: Trial
    process: BaseProcess
    started: float


def sweep(trials: Sequence[Trial], out: Path, jobs: int, fresh: bool = False) -> list[Curve]:
    """The curves of all trials that could run, in their order; those already in `out` are read from there."""
    out.mkdir(parents=True, exist_ok=True)
    waiting = deque(trial for trial in trials if fresh or kept(trial, out) is None)
    left = len(waiting)
    print(f"{len(trials)} trainings, {len(trials) - left} of them in {out} already", flush=True)
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    running: list[Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.popleft()
                curve_file(trial, out).unlink(missing_ok=True)  # otherwise an old curve would pass for the new one
                process = context.Process(target=work, args=(trial, curve_file(trial, out)), daemon=True)
                process.start()
                running.append(Running(trial=trial, process=process, started=time.perf_counter()))
            for one in [one for one in running if not one.process.is_alive()]:
                running.remove(one)
                left -= 1
                print(f"  {time.perf_counter() - one.started:5.0f} s  {verdict(one, out)}, {left} to go", flush=True)
            time.sleep(POLL_S)
    finally:
        for one in running:
            one.process.terminate()
            one.process.join()
    return [curve for trial in trials if (curve := kept(trial, out)) is not None]


def kept(trial: Trial, out: Path) -> Curve | None:
    """The finished curve of exactly this trial."""
    path = curve_file(trial, out)
    if not path.is_file():
        return None
    curve = Curve.read(path)
    return curve if curve.trial == trial else None


def verdict(one: Running, out: Path) -> str:
    """A message about a finished training."""
    curve = kept(one.trial, out)
    if one.process.exitcode or curve is None:
        said = curve_file(one.trial, out).with_suffix(".log").read_text()
        return f"{one.trial.name} failed with exit code {one.process.exitcode}:\n{said[-TAIL:]}\n"
    return f"{one.trial.name}: reward {curve.final:.3f}{f', {curve.ended} at step {len(curve.steps)}' if curve.ended else ''}"


def curve_file(trial: Trial, out: Path) -> Path:
    """The file of a trial's curve."""
    return out / f"{trial.name.replace('/', '-').replace(' ', '-')}.json"
