"""How fast this machine copies and multiplies. On a GPU a process of its own measures it, so that no GPU memory stays taken:

`python -m cluster.commands.selfcheck.yardstick '{"device": "cuda", ...}'` prints what it measured as JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from configs.arithmetic import GB

TERA = 1e12
REPEATS, ENOUGH_S = 5, 0.1
LIMIT_S = 120.0
COPY_BYTES = {"cpu": 1 << 27, "cuda": 1 << 30}
SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
ASK_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to measure: a matrix product [rows, width] × [width, columns] in a precision of torch, and a copy."""

    device: str  # "cpu" or "cuda"
    dtype: str
    rows: int
    width: int
    columns: int
    threads: int = 1  # of the CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What was measured: bytes copied a second, counted once, and floating-point operations a second."""

    copy_gb_per_s: float
    matmul_tflops: float


def measured(asked: Asked) -> Yardstick:
    """Measure in a process of its own; RuntimeError with the last line of its errors where that fails."""
    words = [sys.executable, "-m", "cluster.commands.selfcheck.yardstick", json.dumps(asdict(asked))]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"a copy and a matrix product on {asked.device} did not end within {LIMIT_S:g} s") from None
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"the measuring process ended with status {done.returncode}")
    return Yardstick(**json.loads(done.stdout))


def measure(asked: Asked) -> Yardstick:
    """The best of some repetitions of each, on one device."""
    size = COPY_BYTES[asked.device]
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(asked.threads)
    wait: Callable[[], Any] = torch.cuda.synchronize if asked.device == "cuda" else lambda: None
    source = torch.ones(size, dtype=torch.uint8, device=asked.device)
    target = torch.empty_like(source)
    kind = getattr(torch, asked.dtype)
    left = torch.rand(asked.rows, asked.width, dtype=kind, device=asked.device)
    right = torch.rand(asked.width, asked.columns, dtype=kind, device=asked.device)
    copying = best(lambda: target.copy_(source), wait)
    multiplying = best(lambda: left @ right, wait)
    torch.set_num_threads(threads)
    return Yardstick(
        copy_gb_per_s=source.nbytes / copying / GB,
        matmul_tflops=2 * asked.rows * asked.width * asked.columns / multiplying / TERA,
    )


def best(work: Callable[[], object], wait: Callable[[], Any]) -> float:
    """Seconds of the fastest of REPEATS rounds, each long enough for the clock, after one that warms up."""
    started = time.perf_counter()
    work()
    wait()
    rounds = max(1, int(ENOUGH_S / max(time.perf_counter() - started, 1e-6) / REPEATS))
    fastest = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(rounds):
            work()
        wait()
        fastest = min(fastest, (time.perf_counter() - started) / rounds)
    return fastest


def gpus_by_name() -> list[dict[str, str | float]]:
    """Name, memory and driver of each GPU of this machine; empty where its driver knows none."""
    try:
        answer = subprocess.run(SMI, capture_output=True, text=True, timeout=ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no driver, or one that does not answer: a run that needs it says so itself
        return []
    rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.count(",") == len(("name", "memory"))]
    return [{"name": name, **memory_of(memory), "driver": driver} for name, memory, driver in rows]


def memory_of(mebibytes: str) -> dict[str, str | float]:
    """A GPU's memory in GB; nothing where the driver gives no number, as for memory that it shares with the CPU."""
    return {"memory_gb": round(int(mebibytes) * 2**20 / GB, 1)} if mebibytes.isdecimal() else {}


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Asked(**json.loads(sys.argv[1]))))))
