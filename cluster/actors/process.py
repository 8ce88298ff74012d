"""What every actor does to its process: take its environment, find programs, send its output to a file, freeze what start-up made."""

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import ray

from cluster.causes.logs import heading

Env = Mapping[str, str]
NO_ENV: Env = MappingProxyType({})


def take(env: Env) -> None:
    """Set the role's variables. Libraries read them as they are imported, so call it before torch or vLLM is."""
    os.environ.update(env)


def log_path(run_dir: Path, role: str) -> Path:
    return run_dir / "logs" / f"{role}.log"


def send_output_to(run_dir: Path, role: str) -> None:
    """Send this process's standard output and error, and those of its children, to the role's log file."""
    path = log_path(run_dir, role)
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    print(heading(role, ray.util.get_node_ip_address()), file=sys.stderr, flush=True)


def with_own_programs(path: str | None) -> str:
    """The PATH `path`, and after it the folder of this Python: `.venv/bin/python` runs without its folder on the PATH."""
    return os.pathsep.join(filter(None, [path, str(Path(sys.executable).parent)]))


def find_own_programs() -> None:
    """Let this process and its children find ninja, with which DeepSpeed and FlashInfer compile, where pip has installed it."""
    os.environ["PATH"] = with_own_programs(os.environ.get("PATH"))


def pause_gc() -> None:
    """Collect no garbage until `freeze_gc`: while libraries are imported there is little, and looking for it takes a fifth of the time."""
    gc.disable()


@contextmanager
def without_gc() -> Iterator[None]:
    """The same for a while, in a process that may be the user's."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def freeze_gc() -> None:
    """Freeze objects made at start-up so that the garbage collector skips them.

    Otherwise it walks a million objects of imported libraries every few steps, a third of a second each time.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Within: what was there before is frozen. Afterwards it is not, since the process may be a user's own."""
    freeze_gc()
    try:
        yield
    finally:
        gc.unfreeze()
