"""A run directory with every file that a report reads, full of hostile texts."""

import json
from pathlib import Path

import numpy as np

from cluster.record.ledger import Account, Ledger

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m‮evil'
CONFIG = '[run]\nsteps = 6\nseed = {seed}\n[model]\npath = "m"\n[reward]\nrange = [0.0, 1.0]\n'
LINE = {
    "reward/mean": 0.5, "reward/std": 0.4, "reward/min": 0.0, "reward/max": 1.0, "reward/correct": 0.5, "reward/part/tags": 0.25,
    "reward/timed_out": 1.0, "reward/crashed": 0.0, "reward/unscorable": 0.0, "length/mean": 10.0,
    "length/max": 20.0, "length/truncated": 0.0, "entropy": 1.5,
    "mismatch/kl": 1e-9, "mismatch/mean": 1e-6, "mismatch/p999": 1e-5, "mismatch/max": 1e-4,
    "grad_norm": 0.3, "clip/low": 0.0, "clip/high": 0.01, "policy_kl": 0.001, "tokens_per_second": 1000.0, "tokens": 100.0,
    "seconds/step": 2.0, "seconds/generate": 1.0, "seconds/learn": 1.0, "staleness/mean": 0.0, "staleness/max": 0.0,
    "groups/no_signal": 0.1, "load/dead": 0.0, "routing/differ": 0.01, "routing/tokens_differ": 0.02,
}  # fmt: skip


def run_dir(folder: Path, steps: int = 6, seed: int = 0, name: str = "run") -> Path:
    """A run with every file that a page reads."""
    run = folder / name
    (run / "responses").mkdir(parents=True)
    (run / "disagreements").mkdir()
    (run / "quarantine").mkdir()
    (run / "config.toml").write_text(CONFIG.format(seed=seed))
    lines = [{"step": 0, "eval/greedy": 0.2}, *({"step": step, **LINE, "reward/mean": step / 8} for step in range(1, steps + 1))]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (run / "layers.jsonl").write_text("".join(f'{{"step": {step}, "routing/differ": [0.1, null]}}\n' for step in range(1, steps + 1)))
    (run / "nodes.json").write_text('{"engine-0": "127.0.0.1", "learner-0": "127.0.0.1"}')
    row = {"prompt_id": "p1", "question": HOSTILE, "prompt": HOSTILE, "response": HOSTILE, "reference": HOSTILE, "checker": HOSTILE}
    row |= {"reward": 0.5, "outcome": "scored", "failure": HOSTILE, "parts": {"correct": 0.5, "second": 1.0}}
    for step in range(1, steps + 1):
        for kind in ("responses", "disagreements"):
            (run / kind / f"step_{step:06d}.jsonl").write_text(json.dumps(row) + "\n")
    (run / "quarantine" / "reward-0.jsonl").write_text(json.dumps({"item": HOSTILE}) + "\n")
    np.savez(run / "experts.npz", steps=np.arange(1, steps + 1), counts=np.array([[[1, 2, 3], [0, 0, step]] for step in range(steps)]))
    ledger = Ledger(run / "ledger.db")
    ledger.begin(0, 0, ())
    for step in range(1, steps + 1):
        ledger.submitted(step, f"p{step % 2}", 0)
        ledger.learned(step, [Account(step, 0, float(step % 2), 0, step - 1, step - 1)], "w")
    ledger.close()
    return run
