"""What the NVIDIA driver says of this machine's GPUs, asked through `nvidia-smi`, which holds none of their memory."""

import csv
import ctypes
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MIB = 2**20
ASK_S = 20.0  # without persistence mode the driver first wakes every GPU
GPU_FIELDS = (
    "index", "uuid", "name", "driver_version", "memory.total", "memory.free", "compute_mode", "mig.mode.current",
    "ecc.errors.uncorrected.volatile.total",
)  # fmt: skip
HOLDER_FIELDS = ("gpu_uuid", "pid", "used_memory", "process_name")
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
PCI = Path("/sys/bus/pci/devices")
VENDOR, DISPLAY = "0x10de", "0x03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; memory in bytes."""

    index: int
    uuid: str
    name: str
    total: int
    free: int
    compute_mode: str
    mig: bool
    uncorrected: int  # memory errors since the driver was loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds memory of a GPU."""

    uuid: str
    pid: int
    used: int
    name: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """The driver, its GPUs and their processes."""

    driver: str | None = None  # "580.65.06"
    cuda: int | None = None  # the newest CUDA major that the driver runs, by libcuda's own word
    gpus: Sequence[Gpu] = ()
    holders: Sequence[Holder] = ()
    problem: str | None = None  # why the driver could not be asked, where there is a GPU or a driver
    hidden: Sequence[str] = field(default=())  # entries of CUDA_VISIBLE_DEVICES that name no GPU
    visible: Sequence[Gpu] = ()  # what CUDA_VISIBLE_DEVICES leaves


def ask_nvidia() -> Nvidia:
    """Ask the driver; a machine without GPUs has an empty answer without a problem."""
    try:
        rows = query(f"--query-gpu={','.join(GPU_FIELDS)}")
        gpus = [gpu_of(row) for row in rows]
        holders = [holder_of(row) for row in query(f"--query-compute-apps={','.join(HOLDER_FIELDS)}")] if gpus else []
    except FileNotFoundError:
        return Nvidia(problem=without_tool())
    except subprocess.CalledProcessError as failed:
        said = " ".join(f"{failed.stdout} {failed.stderr}".split())
        return Nvidia(
            problem=None if "No devices were found" in said else f"nvidia-smi failed: {said or f'exit status {failed.returncode}'}"[:400]
        )
    except (OSError, subprocess.TimeoutExpired, ValueError) as failed:
        return Nvidia(problem=f"nvidia-smi gave no usable answer ({type(failed).__name__}: {failed})"[:400])
    visible, hidden = visible_of(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    driver = rows[0][3] if rows else None
    return Nvidia(driver=driver, cuda=cuda_of_driver(), gpus=gpus, holders=holders, hidden=hidden, visible=visible)


def query(asked: str) -> list[list[str]]:
    """The rows of an answer of nvidia-smi, a list of fields each."""
    command = ["nvidia-smi", asked, "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)
    return [row for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True) if row]


def gpu_of(row: Sequence[str]) -> Gpu:
    index, uuid, name, _, total, free, mode, mig, wrong = row
    return Gpu(
        index=int(index), uuid=uuid, name=name, total=number(total) * MIB, free=number(free) * MIB, compute_mode=mode,
        mig=mig == "Enabled", uncorrected=number(wrong),
    )  # fmt: skip


def holder_of(row: Sequence[str]) -> Holder:
    """A process, with its user where this machine can see it: a container sees only its own processes."""
    uuid, pid, used, *words = row  # a name is not quoted and may have commas
    try:
        user = psutil.Process(int(pid)).username()
    except (psutil.Error, ValueError, KeyError):
        user = "of unknown user"
    return Holder(uuid=uuid, pid=number(pid), used=number(used) * MIB, name=", ".join(words), user=user)


def number(text: str) -> int:
    """A number of nvidia-smi; 0 for "[N/A]" and the like."""
    return int(text) if text.strip().isdecimal() else 0


def visible_of(gpus: Sequence[Gpu], given: str | None) -> tuple[list[Gpu], list[str]]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, and its entries that name none. CUDA stops at the first of those."""
    if given is None:
        return list(gpus), []
    left: list[Gpu] = []
    for entry in filter(None, (part.strip() for part in given.split(","))):
        found = [gpu for gpu in gpus if entry == str(gpu.index) or (entry.startswith("GPU-") and gpu.uuid.startswith(entry))]
        if not found or found[0] in left:
            return left, [] if entry == "-1" else [entry]
        left += found
    return left, []


def cuda_of_driver() -> int | None:
    """The CUDA major of the libcuda that a process would load, which may be newer than the kernel's driver (compatibility packages)."""
    try:
        version = ctypes.c_int()
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed or not version.value else version.value // 1000


def without_tool() -> str | None:
    """What is wrong where there is no nvidia-smi: nothing on a machine without a GPU."""
    if KERNEL_MODULE.exists():
        return "the NVIDIA driver is loaded, but nvidia-smi is not on the PATH, so GPU memory was not looked at"
    cards = [card for card in PCI.glob("*/vendor") if text_of(card) == VENDOR and text_of(card.with_name("class")).startswith(DISPLAY)]
    return f"{len(cards)} NVIDIA GPU(s) on the PCI bus, but no driver" if cards else None


def text_of(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
