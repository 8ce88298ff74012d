"""Memory of the host: shared memory, what may be used of the rest, the limits of a process."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from cluster.actors.nodes.local_ray import memory_seen_by_ray, wanted_object_store
from cluster.commands.checks.folder import checkpoint_bytes, in_bytes
from cluster.commands.doctor.checks.network import has_infiniband
from cluster.commands.doctor.diagnosis import Finding, error, ok, warning
from cluster.commands.doctor.subject import Subject
from configs.arithmetic import model_config
from configs.parameters import count_parameters
from configs.schema import Config

SHM = Path("/dev/shm")
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
SHM_OF_GPUS = 1_000_000_000  # NCCL between the GPUs of a node and vLLM between an engine's workers exchange through it
LITTLE_MEMORY = 4_000_000_000
FILES, FEW_FILES = 8192, 1024  # Ray's own recommendation; below the second nothing starts
PROCESSES, FEW_PROCESSES = 4096, 512
ENLARGE = (
    "docker run --shm-size=16g, in Kubernetes an emptyDir of medium Memory at /dev/shm, else `mount -o remount,size=16g /dev/shm` as root"
)


def check_shared_memory(subject: Subject) -> Iterator[Finding]:
    """/dev/shm against what Ray's object store, NCCL and vLLM put there."""
    if not (SHM.is_dir() and os.access(SHM, os.W_OK)):
        yield error(f"{SHM} {'cannot be written' if SHM.is_dir() else 'does not exist'}; Ray, vLLM and NCCL exchange through it", ENLARGE)
        return
    room = os.statvfs(SHM)
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    found = f"{in_bytes(free)} of {in_bytes(total)} free in {SHM}"
    wanted = wanted_object_store()
    if subject.on_gpu and free < SHM_OF_GPUS:
        yield error(f"{found}, needed at least {in_bytes(SHM_OF_GPUS)} for NCCL and vLLM between the GPUs of a node", ENLARGE)
    elif free < wanted:
        what = f"{found}; Ray's object store takes up to {in_bytes(wanted)} (30 % of free memory) and would be smaller, or lie on disk"
        do = f"{ENLARGE}; or delete what dead processes left there" if total >= wanted else ENLARGE
        yield warning(what, do)
    elif kind_of(SHM) not in ("tmpfs", "ramfs", None):
        yield warning(f"{SHM} is a {kind_of(SHM)}, no memory", "mount a tmpfs there")
    else:
        yield ok(f"{found}; Ray's object store takes up to {in_bytes(wanted)}")


def kind_of(path: Path) -> str | None:
    """The type of the file system on which a path lies, None where it is unknown."""
    try:
        real = path.resolve()
        mounts = [mount for mount in psutil.disk_partitions(all=True) if real.is_relative_to(mount.mountpoint)]
    except OSError:
        return None
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else None


def check_memory(_: Subject) -> Iterator[Finding]:
    """Memory, and the limit that a container or a scheduler sets."""
    memory, limit = psutil.virtual_memory(), memory_limit()
    found = f"{in_bytes(memory.available)} of {in_bytes(memory.total)} free"
    if limit is not None and limit < memory.total:
        found += f", limited to {in_bytes(limit)} by the control group"
    usable = min(memory.available, limit or memory.available)
    if limit is not None and limit < 0.9 * memory_seen_by_ray():
        what = f"{found}; Ray does not see this limit, and would take 30 % of {in_bytes(memory_seen_by_ray())} for objects"
        yield warning(
            what, "start a cluster of your own with `ray start --head --memory=BYTES --object-store-memory=BYTES`, or raise the limit"
        )
    elif usable < LITTLE_MEMORY:
        yield warning(
            f"{found}; a run of the smallest model needs about {in_bytes(LITTLE_MEMORY)}", "end other processes, or raise the limit"
        )
    else:
        yield ok(found)


def memory_limit() -> int | None:
    """Bytes that the control groups of this process allow, the smallest of all above it; None where there is no limit."""
    limits = [int(text) for file in limit_files("memory.max", "memory/memory.limit_in_bytes") if (text := read(file)).isdecimal()]
    return min(limits, default=None)


def limit_files(name: str, old: str) -> list[Path]:
    """The files of a limit from this process's control group up to the root: of version 2, else of version 1 at its root."""
    lines = [line.partition("::")[2] for line in read(OWN_CGROUP).splitlines() if line.startswith("0::")]
    below = [part for line in lines for part in (Path(line.lstrip("/")), *Path(line.lstrip("/")).parents)]
    return [*(CGROUPS / part / name for part in (*below, Path())), CGROUPS / old]


def read(file: Path) -> str:
    """The text of a file of the kernel; empty where there is none."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def check_limits(subject: Subject) -> Iterator[Finding]:
    """The limits of a process that a run reaches."""
    findings = [*of_files(), *of_processes(), *of_sizes(subject)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield from findings or [ok(f"{raised(soft, hard)} open files, {plainly(resource.getrlimit(resource.RLIMIT_NPROC)[0])} processes")]


def raised(soft: int, hard: int) -> int:
    """Open files of a run: Ray raises the soft limit up to 65536, as far as the hard one allows."""
    return soft if soft == resource.RLIM_INFINITY else max(soft, min(65536 if hard == resource.RLIM_INFINITY else hard, 65536))


def of_files() -> Iterator[Finding]:
    """The limit of open files, of which an actor has hundreds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = raised(soft, hard)
    if files != resource.RLIM_INFINITY and files < FILES:
        finding = error if files < FEW_FILES else warning
        do = "ulimit -n 65536 (for a cluster: before `ray start`; in Docker --ulimit nofile=65536)"
        yield finding(f"{files} open files, needed at least {FILES if files >= FEW_FILES else FEW_FILES}", do)


def of_processes() -> Iterator[Finding]:
    """The limits of processes and threads: the user's, and that of the control group."""
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft != resource.RLIM_INFINITY and soft < PROCESSES and os.geteuid() != 0:  # root has no such limit
        finding = error if soft < FEW_PROCESSES else warning
        yield finding(
            f"{soft} processes and threads for this user, needed at least {PROCESSES}", "ulimit -u 65536, or ask the administrator"
        )
    for file in limit_files("pids.max", "pids/pids.max"):
        most = read(file)
        if most.isdecimal() and (left := int(most) - int(read(file.with_name("pids.current")) or 0)) < PROCESSES:
            finding = error if left < FEW_PROCESSES else warning
            yield finding(f"the control group leaves {left} of {most} processes and threads", "raise it (docker run --pids-limit=-1)")
            return


def of_sizes(subject: Subject) -> Iterator[Finding]:
    """Limits of sizes, which libraries meet as errors without a name."""
    size = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if size != resource.RLIM_INFINITY:
        shard = shard_bytes(subject.config)
        what, do = f"a file may have {in_bytes(size)} at most", "ulimit -f unlimited"
        if shard is None or size > shard:
            yield warning(f"{what}, and a checkpoint may need more", do)
        else:
            yield error(f"{what}, and a rank's part of a checkpoint takes about {in_bytes(shard)}", do)
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        what = f"a process may have {in_bytes(space)} of address space; CUDA and Ray reserve far more than they use"
        yield warning(what, "ulimit -v unlimited")
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if locked != resource.RLIM_INFINITY and has_infiniband():
        what = f"a process may lock {in_bytes(locked)} of memory; NCCL over InfiniBand locks its buffers"
        yield warning(what, "ulimit -l unlimited (in Docker --ulimit memlock=-1)")


def shard_bytes(config: Config | None) -> int | None:
    """Bytes of a rank's part of a checkpoint, None where the model is not known."""
    parameters = count_parameters(model_config(config)) if config else None
    return checkpoint_bytes(config, parameters) // config.learner.ranks if config and parameters else None


def plainly(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
