"""Disks: room, whether `run.dir` can be locked and hold a ledger, where Ray keeps its session."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.actors.nodes.local_ray import SOCKET_CHARS, longest_socket, ray_folder
from cluster.commands.checks.folder import check_folder, in_bytes, nearest
from cluster.commands.doctor import lock_trial
from cluster.commands.doctor.checks.memory import kind_of
from cluster.commands.doctor.diagnosis import Finding, error, ok, refusal, warning
from cluster.commands.doctor.subject import Subject
from configs.home import expanded
from configs.sections.run import RunConfig

FULL = 100_000_000  # bytes free, below which logs cannot be written
RAY_STOPS = 0.95  # share of a disk in use, above which Ray writes no more objects to it
TRIAL_S = 10.0
OVER_A_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "fuse.", "9p")


def run_dir(subject: Subject) -> Path:
    """`run.dir`, without a config where runs are written by default."""
    return subject.config.run_dir if subject.config else Path(RunConfig.model_fields["dir"].default).absolute()


def cache() -> Path:
    """The Hugging Face cache, as huggingface_hub finds it."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return expanded(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def check_disks(subject: Subject) -> Iterator[Finding]:
    """Free space where a run writes, and rights to write there."""
    places = {
        "run.dir": run_dir(subject),
        "temporary files": Path(tempfile.gettempdir()),
        "Ray's session": ray_folder(),
        "Hugging Face's cache": cache(),
    }
    on_disk: dict[int, list[str]] = {}
    for what, path in places.items():
        there = nearest(path)
        try:
            usage, device = shutil.disk_usage(there), there.stat().st_dev
        except OSError as failed:
            yield error(f"{what}: {path} cannot be read ({failed.strerror})", "repair its disk, or choose another folder")
            continue
        used = 1 - usage.free / max(1, usage.total)
        if usage.free < FULL:
            yield error(f"{what}: {path} lies on a full disk ({in_bytes(usage.free)} free)", f"free space, or {mover(what)}")
        elif what == "Ray's session" and used > RAY_STOPS:
            full = f"{what}: {path} lies on a disk in use to {used:.0%}; above {RAY_STOPS:.0%} Ray writes no objects to it"
            yield warning(full, f"free space, or {mover(what)}")
        if not os.access(there, os.W_OK | os.X_OK):
            finding = warning if what == "Hugging Face's cache" else error
            yield finding(f"{what}: {path} cannot be written", f"give this user the right to write it, or {mover(what)}")
        if device not in on_disk:
            on_disk[device] = [f"{in_bytes(usage.free)} of {in_bytes(usage.total)} free"]
        on_disk[device].append(f"{what} {path}")
    if os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOEXEC:
        what = f"{tempfile.gettempdir()} is mounted noexec, so compiled kernels cannot be loaded from it"
        yield warning(what, "export TMPDIR=/path/to/another/folder")
    yield ok("; ".join(f"{room}: {', '.join(names)}" for room, *names in on_disk.values()))


def mover(what: str) -> str:
    """What moves one of the places to another disk."""
    return {
        "run.dir": "choose another run.dir",
        "temporary files": "export TMPDIR=/path/to/another/folder",
        "Ray's session": "export RAY_TMPDIR=/path/to/another/folder (a short one)",
        "Hugging Face's cache": "export HF_HOME=/path/to/another/folder",
    }[what]


def check_run_dir(subject: Subject) -> Iterator[Finding]:
    """Whether run.dir can be made and written, and its disk has room for checkpoints."""
    folder = run_dir(subject)
    if subject.config is None:
        yield ok(f"give a config to check its run.dir; without one it is {folder}")
        return
    try:
        doubts = check_folder(subject.config)
    except ValueError as refused:
        yield refusal(refused)
        return
    yield from [refusal(ValueError(said), "warning") for said in doubts] or [ok(f"{folder} can be written")]


def check_locks(subject: Subject) -> Iterator[Finding]:
    """Whether a run in run.dir can be locked against a second one, and keep its ledger."""
    folder = run_dir(subject)
    wrong = try_locks(nearest(folder))
    kind = f" ({kind})" if (kind := kind_of(nearest(folder))) else ""
    if wrong:
        do = "choose a run.dir on a disk of this machine, or mount the file system with locks (NFS: version 4, without nolock)"
        yield error(f"run.dir {folder}{kind}: {wrong}", do)
    else:
        yield ok(f"flock and SQLite work where {folder} lies{kind}")


def try_locks(folder: Path) -> str:
    """What is wrong with locks in a folder, tried in a temporary one inside it; empty if they work."""
    try:
        with tempfile.TemporaryDirectory(prefix=".gatewise-doctor-", dir=folder, ignore_cleanup_errors=True) as inside:
            command = [sys.executable, "-I", "-S", lock_trial.__file__, inside]
            tried = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_S, check=False)
    except subprocess.TimeoutExpired:
        return f"locks got no answer in {TRIAL_S:g} s"
    except OSError as failed:
        return f"cannot be written ({failed.strerror})"
    return tried.stdout.strip() if not tried.returncode else f"locks could not be tried: {' '.join(tried.stderr.split())[-200:]}"


def check_ray_folder(_: Subject) -> Iterator[Finding]:
    """Ray's folder: its path is short enough for sockets, it can be written, and it lies on a disk of this machine."""
    folder = ray_folder()
    there, kind = nearest(folder), kind_of(nearest(folder)) or ""
    move = mover("Ray's session")
    if (chars := longest_socket(folder)) > SOCKET_CHARS:
        what = f"Ray's folder {folder} is too deep: a socket's path would have {chars} characters, and {SOCKET_CHARS} are allowed"
        yield error(what, "unset RAY_TMPDIR and TMPDIR, or set RAY_TMPDIR to a short folder such as /tmp")
    elif not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        what = "is a file" if not there.is_dir() else f"belongs to {owner(there)}, and this user cannot write it"
        yield error(f"Ray's folder {folder}: {there} {what}", f"remove it, or {move}")
    elif kind.startswith(OVER_A_NETWORK):
        yield warning(f"Ray's folder {folder} lies on {kind}, where its sockets and logs are slow or fail", move)
    else:
        yield ok(f"{folder}{f' ({kind})' if kind else ''}")


def owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # a user of another machine or container
        return f"user {path.stat().st_uid}"
