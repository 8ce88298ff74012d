"""GPUs: the driver against torch, which GPUs a run sees, and who holds their memory."""

from collections.abc import Iterator, Sequence

from cluster.actors.places.device import SETUP_GPU
from cluster.actors.places.nvidia import Gpu, Holder
from cluster.commands.checks.folder import in_bytes
from cluster.commands.doctor.diagnosis import Finding, error, ok, warning
from cluster.commands.doctor.subject import Subject
from configs.arithmetic import used_gpus
from configs.memory.engine import utilization
from configs.schema import Config

FLOORS = {11: 450, 12: 525, 13: 580}  # the first driver branch for each CUDA major; NVIDIA's table of minor version compatibility
IDLE_SHARE = 0.05  # of a GPU's memory, which the driver and a desktop may hold


def check_driver(subject: Subject) -> Iterator[Finding]:
    """The driver against the CUDA of the torch build."""
    nvidia, torch = subject.nvidia, subject.torch
    cuda = torch.cuda if torch else None
    if nvidia.problem:
        do = "repair the driver (after an update: restart the machine); in a container start it with --gpus all"
        yield error(nvidia.problem, do) if cuda and subject.device != "cpu" else warning(nvidia.problem, do)
    elif not nvidia.gpus or nvidia.driver is None:
        yield ok("no NVIDIA driver or GPU")
    elif torch is None or not cuda:
        yield ok(f"driver {nvidia.driver}")
    else:
        yield against(nvidia.driver, nvidia.cuda, torch.major, str(torch), gpu=subject.device != "cpu")


def against(driver: str, newest: int | None, needed: int, torch: str, *, gpu: bool) -> Finding:
    """Whether a driver runs a CUDA major. `newest` is libcuda's own answer, None where it could not be asked."""
    floor, branch = FLOORS.get(needed), driver.partition(".")[0]
    old = newest < needed if newest is not None else floor is not None and branch.isdecimal() and int(branch) < floor
    if not old:
        return ok(f"driver {driver} runs {torch}")
    said = f"driver {driver}{f' runs CUDA up to {newest}' if newest is not None else ''} and is too old for {torch}"
    do = f"install a driver of {floor} or newer" if floor else f"install a driver for CUDA {needed}"
    return error(said, do) if gpu else warning(said, do)


def check_gpus(subject: Subject) -> Iterator[Finding]:
    """Which GPUs a run would see, and their modes."""
    nvidia = subject.nvidia
    if nvidia.hidden:
        there = ", ".join(str(gpu.index) for gpu in nvidia.gpus)
        no = f"{nvidia.hidden[0]}, which is no GPU of this machine ({there}) or named before"
        what = f"CUDA_VISIBLE_DEVICES names {no}: CUDA shows fewer GPUs than it names"
        yield error(what, "correct CUDA_VISIBLE_DEVICES, or unset it")
    if not nvidia.visible:
        hid = f"{len(nvidia.gpus)} GPUs, all hidden by CUDA_VISIBLE_DEVICES" if nvidia.gpus else "no GPU"
        yield from () if nvidia.hidden else (ok(hid),)
        return
    for gpu in nvidia.visible:
        yield from modes(gpu, shared=bool(subject.config and subject.config.placement.share))
    names = sorted({gpu.name for gpu in nvidia.visible})
    if len({gpu.total for gpu in nvidia.visible}) > 1:
        do = "hide the smaller ones with CUDA_VISIBLE_DEVICES, or count with the smallest"
        yield warning(f"GPUs of several kinds: {', '.join(names)}", do)
    yield ok(f"{len(nvidia.visible)} of {len(nvidia.gpus)} GPUs visible: {', '.join(names)}")


def modes(gpu: Gpu, *, shared: bool) -> Iterator[Finding]:
    """Modes of a GPU in which a run would not work."""
    if gpu.compute_mode == "Prohibited":
        yield error(f"GPU {gpu.index} is in compute mode Prohibited, so nothing can run on it", f"nvidia-smi -i {gpu.index} -c 0 (as root)")
    elif gpu.compute_mode.startswith("Exclusive") and shared:
        what = f"GPU {gpu.index} is in compute mode {gpu.compute_mode}, and placement.share puts two processes on it"
        yield error(what, f"nvidia-smi -i {gpu.index} -c 0 (as root)")
    if gpu.mig:
        do = f"nvidia-smi -i {gpu.index} -mig 0 (as root)"
        yield warning(f"GPU {gpu.index} is divided by MIG; NCCL does not connect its parts, and Ray counts them as one GPU", do)
    if gpu.uncorrected:
        what = f"GPU {gpu.index} has had {gpu.uncorrected} uncorrected memory errors since the driver was loaded"
        yield warning(what, f"reset it (nvidia-smi -i {gpu.index} -r, as root) or have it replaced")


def check_device(subject: Subject) -> Iterator[Finding]:
    """Whether GPUs, torch's build and `run.device` agree."""
    torch, gpus, asked = subject.torch, subject.nvidia.visible, subject.device
    elsewhere = subject.joins  # engines and ranks run on the nodes of a cluster
    named = "no torch" if torch is None else str(torch)
    if asked == "gpu" and not elsewhere and not (torch and torch.cuda and gpus):
        lacks = named if not (torch and torch.cuda) else "no visible GPU"
        do = f"install the CUDA build ({SETUP_GPU})" if not (torch and torch.cuda) else "free or unhide a GPU"
        yield error(f'run.device is "gpu", and there is {lacks}', f'{do}, or set run.device = "cpu"')
    elif gpus and torch and not torch.cuda and asked != "cpu":
        yield warning(f"{len(gpus)} GPUs, but {named}: runs use the CPU", f'{SETUP_GPU}, or run.device = "cpu" to say that this is meant')
    elif torch and torch.cuda and not gpus and asked != "cpu" and not elsewhere:
        yield warning(f"{named}, but no visible GPU: runs use the CPU", "`make setup` installs the CPU build, which starts faster")
    else:
        yield ok(f"run.device {asked}: {'GPUs' if subject.on_gpu else 'the cluster decides' if elsewhere else 'the CPU'}")


def check_gpu_memory(subject: Subject) -> Iterator[Finding]:
    """Free memory of each visible GPU, and the processes that hold the rest."""
    gpus = subject.nvidia.visible
    if not gpus:
        yield ok("no visible GPU")
        return
    taken = [gpu for gpu in gpus if gpu.free < needed_share(subject.config) * gpu.total]
    for gpu in taken:
        there = [holder for holder in subject.nvidia.holders if holder.uuid == gpu.uuid]
        yield warning(*held(gpu, there, [other for other in gpus if other not in taken]))
    needed = used_gpus(subject.config) if subject.config and subject.on_gpu and not subject.joins else 0
    if taken and needed > len(gpus) - len(taken):
        what = f"the run needs {needed} GPUs, and {len(gpus) - len(taken)} of {len(gpus)} are free"
        yield error(what, "end the processes above, wait for them, or lower rollout.vllm.gpu_memory_utilization")
    if not taken:
        yield ok(", ".join(f"GPU {gpu.index}: {in_bytes(gpu.free)} of {in_bytes(gpu.total)} free" for gpu in gpus))


def held(gpu: Gpu, there: Sequence[Holder], free: Sequence[Gpu]) -> tuple[str, str]:
    """Who holds a GPU, and what to do."""
    by = ", ".join(f"process {one.pid} ({one.name}, user {one.user}, {in_bytes(one.used)})" for one in there)
    by = by or "processes that cannot be seen from here (another container or user)"
    do = "end them, or wait"
    if free:
        do += f"; or use the others: export CUDA_VISIBLE_DEVICES={','.join(str(other.index) for other in free)}"
    return f"GPU {gpu.index} has {in_bytes(gpu.free)} of {in_bytes(gpu.total)} free; the rest is held by {by}", do


def needed_share(config: Config | None) -> float:
    """The share of a GPU's memory that must be free: what the config's engines take, without a config what an idle GPU has."""
    return 1 - IDLE_SHARE if config is None else utilization(config)
