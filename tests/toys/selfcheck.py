"""The records of two runs of a selfcheck in which everything went well, without any run."""

import json
from pathlib import Path
from typing import Any

from cluster.commands.selfcheck.attempt import Attempt, Death
from cluster.commands.selfcheck.check import with_run
from cluster.commands.selfcheck.evidence import Evidence
from cluster.commands.selfcheck.scaled.prepare import Prepared
from cluster.commands.selfcheck.yardstick import Yardstick
from cluster.commands.train import PROVING, STARTING
from cluster.record.checkpoint import Checkpoints, Position
from cluster.record.ledger import Ledger
from configs.schema import Config

GROUPS = 4  # of a step
STEP: dict[str, Any] = {
    "engines": 2.0, "tokens": 320.0, "seconds/generate": 0.5, "seconds/step": 1.0, "seconds/learn_update": 0.25, "length/mean": 10.0,
    "publish/bytes": 4e6, "publish/seconds": 0.1, "grad_norm": 1.5, "loss": -0.25, "split/tokens": 320.0, "split/total_kl": 1e-9,
    "split/total_max": 1e-4, "split/replayed_kl": 1e-9, "split/replayed_max": 1e-4, "split/tokens_differ": 0.0, "routing/missing": 0.0,
}  # fmt: skip
DIED = "warning: engine 1 died; its groups go on elsewhere. ProcessDied: engine 1: killed by SIGKILL"


def write_run(config: Config, steps: dict[int, dict[str, Any]], *, resumed_after: int = 3, skip: int = 0) -> None:
    """Metrics and ledger of a run that was resumed; the second attempt begins `skip` groups too late."""
    config.run_dir.mkdir(exist_ok=True)
    (config.run_dir / "metrics.jsonl").write_text("".join(json.dumps({"step": n} | row) + "\n" for n, row in steps.items()))
    ledger = Ledger(config.run_dir / "ledger.db")
    ledger.begin(0, 0, [])
    for step in steps:
        if step == resumed_after + 1:
            ledger.begin(resumed_after, resumed_after * GROUPS, [])
        first = (step - 1) * GROUPS + (skip if step > resumed_after else 0)
        for group in range(first, first + GROUPS):
            ledger.submitted(group, f"row {group}", 0)
        ledger.learned(step, [(group, 0, 0.5, 0, step - 1, step - 1) for group in range(first, first + GROUPS)], f"weights of {step}")
    ledger.close()


def checkpoint(config: Config, step: int) -> Path:
    """A checkpoint with a position and nothing else."""
    checkpoints = Checkpoints(config)
    aside = checkpoints.begin(step)
    (aside / "rank-0.json").write_text("{}")
    return checkpoints.commit(aside, Position(step=step, next_group=step * GROUPS, pending=()))


def attempt(config: Config, *, after: int, in_publish: bool = False) -> Attempt:
    return Attempt(
        config=config,
        death=Death(engine=1, after=after, in_publish=in_publish),
        stages={STARTING: 20.0, PROVING: 0.5},
        said=[DIED],
        killed=True,
        seconds=30.0,
    )


def evidence(prepared: Prepared, config: Config) -> Evidence:
    """Two runs in which everything went well."""
    write_run(config, {n: STEP | ({"engines": 1.0} if n in (3, 5) else {}) for n in range(1, 6)})
    resumed = with_run(config, resume="auto", steps=5)
    return Evidence(
        config=config,
        model=dict(prepared.model),
        gpu=False,
        full=False,
        prompt_tokens=6.0,
        yardstick=Yardstick(copy_gb_per_s=10.0, matmul_tflops=0.1),
        first=attempt(config, after=2),
        second=attempt(resumed, after=4, in_publish=True),
        resumed_from=checkpoint(config, 3),
    )
