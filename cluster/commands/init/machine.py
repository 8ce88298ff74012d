"""What a machine has for a run: GPUs with their memory, CPU cores, host memory."""

import math
import os
import subprocess
from dataclasses import dataclass

from cluster.actors.places.device import decide, visible_gpus
from configs.arithmetic import GB, counted

ASK = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
ASK_S = 10
MIB = 2**20
MOST_GPUS = 100_000
MOST_GPU_GB = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The resources that a config is written for."""

    gpus: int
    gpu_gb: float  # memory of the smallest GPU
    gpus_per_node: int
    cpus: int  # of this machine
    host_gb: float
    unused: int = 0  # GPUs that are there, but that the installed packages cannot use

    @property
    def without_gpus(self) -> str:
        """Why there are no GPUs for the config, in words that follow "this machine has"."""
        if not self.unused:
            return "no GPU"
        return f"{counted(self.unused, 'GPU')} that the installed packages cannot use (`make setup DEVICE=gpu` installs what can)"


def this_machine(gpus: int | None, gpu_gb: float | None, gpus_per_node: int) -> Machine:
    """This machine, or the GPUs that were asked for in its place; its own only where the installed packages can use them."""
    refuse_impossible(gpus, gpu_gb, gpus_per_node)
    there = gpus_here() if gpus is None or gpu_gb is None else []
    usable = len(there) if decide("auto", len(there)) else 0
    count = usable if gpus is None else gpus
    smallest = gpu_gb if gpu_gb is not None else min(there, default=80.0)
    return Machine(
        gpus=count,
        gpu_gb=smallest,
        gpus_per_node=min(gpus_per_node, count or 1),
        cpus=len(os.sched_getaffinity(0)),
        host_gb=host_bytes() / GB,
        unused=len(there) - usable if gpus is None else 0,
    )


def host_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def refuse_impossible(gpus: int | None, gpu_gb: float | None, gpus_per_node: int) -> None:
    """Raise ValueError for numbers that no machine has."""
    if gpus is not None and not 0 <= gpus <= MOST_GPUS:
        raise ValueError(f"--gpus {gpus}: needs a whole number from 0, which is a machine without GPUs, to {MOST_GPUS}")
    if gpus_per_node < 1:
        raise ValueError(f"--gpus-per-node {gpus_per_node}: needs at least 1; for a machine without GPUs give --gpus 0")
    if gpu_gb is not None and not (math.isfinite(gpu_gb) and 0 < gpu_gb <= MOST_GPU_GB):
        raise ValueError(f"--gpu-memory {gpu_gb:g}: needs the GB of one GPU, above 0 and at most {MOST_GPU_GB}, such as 80")


def gpus_here() -> list[float]:
    """Memory in GB of each GPU that a run on this machine would see, empty where its driver knows none."""
    try:
        answer = subprocess.run(ASK, capture_output=True, text=True, timeout=ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no driver, or one that does not answer: then no run could use its GPUs either
        return []
    there = [float(line) * MIB / GB for line in answer.split("\n") if line.strip().replace(".", "", 1).isdecimal()]
    named = [int(name) for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip().isdecimal()]
    visible = [there[index] for index in named if index < len(there)] or there
    return visible[: visible_gpus()]
