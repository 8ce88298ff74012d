"""The effect of routing replay on the mismatch: `python -m benchmarks.experiments.replay [--seeds 0 1 2] [--steps N]`.

Every training is a whole run (`python -m cluster train`) with a vLLM engine in bfloat16 and a learner in float32, so that tokens near a
tie take different experts in the two. A finished run is not made again; --fresh makes all runs again.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks.experiments.report import mean, show, spread
from benchmarks.rounds import CONFIG, OUT, ROOT
from cluster.record.metrics.metrics import read_metrics

MODES = ("live", "replay_learner", "replay_rollout")
UPDATES = (1, 4)
RUN_S = 3600  # most seconds of one training
LAST = 10  # steps over which the final reward is averaged
COLUMNS = (
    "updates",
    "routing",
    "KL, engine to learner",
    "live / this",
    "token-layers that differ",
    "tokens that differ",
    "final reward",
    "held-out",
)


class Setting(NamedTuple):
    """One training."""

    routing: str
    updates: int
    seed: int

    def folder(self, out: Path) -> Path:
        return out / f"{self.routing}-{self.updates}-{self.seed}"

    def overrides(self, out: Path, steps: int, more: Sequence[str]) -> list[str]:
        return [
            f"run.dir={self.folder(out)}",
            f"run.steps={steps}",
            f"run.seed={self.seed}",
            "run.eval_every=0",
            "rollout.dtype=bfloat16",
            "rollout.capture_routing=true",
            f"learner.routing={self.routing}",
            f"learner.updates_per_step={self.updates}",
            *more,
        ]


def rows_of(setting: Setting, out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, none if it never started."""
    folder = setting.folder(out)
    return read_metrics(folder) if (folder / "metrics.jsonl").is_file() else []


def train(setting: Setting, out: Path, steps: int, more: Sequence[str]) -> str:
    """Make one run unless it exists; a message about it."""
    if sum(row["step"] > 0 for row in rows_of(setting, out)) == steps:
        return f"{setting}: exists"
    shutil.rmtree(setting.folder(out), ignore_errors=True)
    words = [sys.executable, "-m", "cluster", "train", str(CONFIG), *setting.overrides(out, steps, more)]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=RUN_S)
    except subprocess.TimeoutExpired:
        return f"{setting}: not finished within {RUN_S} s, ended"
    return f"{setting}: exit code {done.returncode}" + (f"\n{done.stderr[-1500:]}" if done.returncode else "")


def figure(setting: Setting, out: Path, key: str, last: int = 0) -> float:
    """The mean of a metric over a run's steps, or over its last ones."""
    values = [row[key] for row in rows_of(setting, out) if row["step"] and row.get(key) is not None]
    return fmean(values[-last:]) if values else float("nan")


def report(settings: Sequence[Setting], out: Path) -> None:
    """Print the table, one row per number of updates and routing."""
    rows = []
    for updates, routing in dict.fromkeys((s.updates, s.routing) for s in settings):
        runs = [s for s in settings if (s.updates, s.routing) == (updates, routing)]
        mismatches = [figure(run, out, "mismatch/kl") for run in runs]
        ratios = [figure(run._replace(routing="live"), out, "mismatch/kl") / kl for run, kl in zip(runs, mismatches, strict=True)]
        rows.append(
            [
                str(updates),
                routing,
                spread([1e4 * kl for kl in mismatches], 2) + " e-4",
                spread(ratios, 2),
                mean([figure(run, out, "routing/differ") for run in runs], 4),
                mean([figure(run, out, "routing/tokens_differ") for run in runs], 4),
                spread([figure(run, out, "reward/mean", LAST) for run in runs]),
                mean([figure(run, out, "eval/greedy", 1) for run in runs]),
            ]
        )
    show("routing replay: mean (least…most) over seeds", COLUMNS, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the missing runs and print the table; 1 if a run could not be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.replay", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=30, help="of each training")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--out", type=Path, default=OUT / "replay")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the tiny recipe in every training")
    parser.add_argument("--fresh", action="store_true", help="make finished trainings again")
    asked = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out: Path = asked.out.absolute()
    if asked.fresh:
        shutil.rmtree(out, ignore_errors=True)
    settings = [Setting(routing, updates, seed) for updates in UPDATES for routing in MODES for seed in asked.seeds]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ThreadPoolExecutor(asked.jobs) as jobs:
        for said in jobs.map(lambda setting: train(setting, out, asked.steps, asked.set), settings):
            print(said, flush=True)
    report(settings, out)
    return int(any(sum(row["step"] > 0 for row in rows_of(setting, out)) < asked.steps for setting in settings))


if __name__ == "__main__":
    sys.exit(main())
