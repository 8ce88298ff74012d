"""Faults of a machine, made for real where a user can make them: packages, programs and libraries in a folder of their own."""

import shlex
import subprocess
from pathlib import Path

GPU = "{index}, GPU-{index}00, NVIDIA H100 80GB HBM3, {driver}, 81559, {free}, {mode}, {mig}, 0"
LOCKS = """
#include <errno.h>
#include <fcntl.h>
int flock(int file, int how) { %s }
"""
REFUSED, IGNORED = "errno = ENOLCK; return -1;", "return 0;"
NO_BYTE_LOCKS = """
#include <errno.h>
#include <stdarg.h>
#include <unistd.h>
#include <sys/syscall.h>
int fcntl64(int file, int what, ...) {
    va_list rest;
    va_start(rest, what);
    long given = va_arg(rest, long);
    if (what == 6 || what == 7) { errno = ENOLCK; return -1; }  /* F_SETLK, F_SETLKW */
    return syscall(SYS_fcntl, file, what, given);
}
int fcntl(int file, int what, ...) __attribute__((alias("fcntl64")));
"""


def install(folder: Path, name: str, version: str) -> Path:
    """Install an empty package into a folder, as pip records it."""
    package = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def install_torch(folder: Path, version: str, cuda: str | None) -> Path:
    """Install a torch of that build, of which only the version can be read."""
    (folder / "torch").mkdir(parents=True)
    lines = f"from typing import Optional\n__version__ = {version!r}\ncuda: Optional[str] = {cuda!r}\n"
    (folder / "torch" / "version.py").write_text(lines)
    return install(folder, "torch", version)


def write_nvidia_smi(
    folder: Path,
    *,
    gpus: int = 2,
    driver: str = "580.65.06",
    free: int = 81000,
    mode: str = "Default",
    mig: str = "Disabled",
    held_by: int = 0,
) -> Path:
    """An `nvidia-smi` in a folder that answers as that of a machine with GPUs; `held_by` is a process that holds the first one."""
    rows = [GPU.format(index=i, driver=driver, free=1000 if held_by and not i else free, mode=mode, mig=mig) for i in range(gpus)]
    holders = [f"GPU-000, {held_by}, 80000, python"] if held_by else []
    say = [f"printf '%s\\n' {shlex.quote(row)};;" for row in ("\n".join(rows), "\n".join(holders))]
    return write_program(folder, "nvidia-smi", f'case "$1" in --query-gpu*) {say[0]} --query-compute-apps*) {say[1]} esac')


def write_program(folder: Path, name: str, script: str) -> Path:
    """A program in a folder, to be put on the PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return folder


def library(folder: Path, source: str) -> Path:
    """A shared library that goes before the C library (LD_PRELOAD)."""
    (folder / "fault.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "fault.so", folder / "fault.c"], check=True, timeout=60)
    return folder / "fault.so"
