"""Whole training steps against TRL's GRPOTrainer: the same model, prompts, reward, batch, updates and precision, in turns.

Every round trains anew on either side and takes the median of its steps. Both sample with the model's own distribution and compute old
log-probs where an update follows another. TRL generates with transformers and has every core; Gatewise runs as shipped.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.mixture import keys, write_mixture
from benchmarks.peer import end_of_log
from benchmarks.rounds import CONFIG, OUT, ROOT, Row, Size, ratio
from benchmarks.trained import trained
from configs.loader import load
from configs.schema import Config

VERSION = "1.16.0"
ROUNDS = 9
TRL_S = 900.0  # the longest that one training of TRL may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training of TRL."""

    model: str
    data: str
    checker: str
    batch: int  # responses of an update
    updates: int
    group: int
    tokens: int
    lr: float
    clip: float
    max_grad_norm: float
    steps: int
    warm_up: int  # steps that do not count
    threads: int
    folder: str


def measure(size: Size) -> list[Row]:
    """Rounds of one training each; nothing where TRL is not installed."""
    if find_spec("trl") is None:
        print(f"  skipped: TRL is not installed. Install it with `pip install --no-deps trl=={VERSION}`, or pip install gatewise[bench]")
        return []
    write_mixture()
    rounds = max(1, min(ROUNDS, size.rounds) if size.rounds > 3 else 1)
    return [*compared("tiny recipe", [], rounds, steps=12, warm_up=4), *compared("57M mixture", keys(), rounds, steps=4, warm_up=1)]


def compared(name: str, given: list[str], rounds: int, *, steps: int, warm_up: int) -> list[Row]:
    """The rows of one recipe."""
    config = load(CONFIG, given)
    ours, theirs = [], []
    for number in range(1, rounds + 1):
        what = f"{name}, round {number}/{rounds}"
        ours.append(trained(steps + 1, given, f"{what}, Gatewise", warm_up=warm_up + 1))
        theirs.append(by_trl(config, steps, warm_up))
        print(f"  {what}: Gatewise {ours[-1]['step']:.3f} s, TRL {theirs[-1]:.3f} s", flush=True)
    seconds = [run["step"] for run in ours]
    return [
        ratio(f"{name}: step of TRL / of Gatewise", theirs, seconds),
        Row(what=f"{name}: step, Gatewise", unit="s", values=seconds),
        Row(what=f"{name}: step, TRL", unit="s", values=theirs),
        *(Row(what=f"{name}: of which {part}", unit="s", values=[run[part] for run in ours]) for part in ("generate", "learn", "publish")),
        Row(what=f"{name}: updates without a gradient", unit="", values=[run["updates without a gradient"] for run in ours]),
    ]


def by_trl(config: Config, steps: int, warm_up: int) -> float:
    """The median seconds of a step of TRL, in a process of its own."""
    log = OUT / "logs" / "trl.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trl-", dir=OUT) as folder, log.open("w") as errors:
        job = job_of(config, steps, warm_up, folder)
        words = [sys.executable, "-m", "benchmarks.trl_side", json.dumps(asdict(job))]
        done = subprocess.run(
            words, cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, stdout=subprocess.PIPE, stderr=errors, timeout=TRL_S, text=True
        )
    if done.returncode:
        raise RuntimeError(f"TRL failed. The end of its output:\n{end_of_log('trl')}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def job_of(config: Config, steps: int, warm_up: int, folder: str) -> Job:
    """The same training in TRL's words."""
    rollout, learner = config.rollout, config.learner
    clip = config.objective.resolved.surrogate
    return Job(
        model=str(Path(config.model.path).absolute()),
        data=str(Path(str(config.data.train)).absolute()),
        checker=config.reward.checker,
        batch=rollout.groups_per_step * rollout.group_size // learner.updates_per_step,
        updates=learner.updates_per_step,
        group=rollout.group_size,
        tokens=rollout.max_response_tokens,
        lr=float(learner.lr),
        clip=float(getattr(clip, "clip_high", 0.2)),
        max_grad_norm=float(learner.max_grad_norm),
        steps=steps,
        warm_up=warm_up,
        threads=len(os.sched_getaffinity(0)),
        folder=folder,
    )
