"""Compilers: what DeepSpeed's Adam on the CPU and Triton's kernels compile with at their first use."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from cluster.actors.process import with_own_programs
from cluster.commands.doctor.diagnosis import Finding, error, ok
from cluster.commands.doctor.subject import Subject
from configs.arithmetic import offloads

CUDA_FOLDER = Path("/usr/local/cuda")
ADAM = "learner.deepspeed.zero_optimization.offload_optimizer"


def check_compiler(subject: Subject) -> Iterator[Finding]:
    """A C++ compiler, ninja, Python's headers and CUDA's compiler, each only where the run needs it."""
    adam = subject.config is not None and offloads(subject.config)
    ninja = shutil.which("ninja", path=with_own_programs(os.environ.get("PATH")))
    compiler, headers = cxx(), Path(sysconfig.get_paths()["include"]) / "Python.h"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    findings = []
    if adam and compiler is None:
        what = f"{ADAM} compiles DeepSpeed's Adam, and there is no C++ compiler ({os.environ.get('CXX') or 'g++'})"
        findings.append(error(what, "install one (Debian, Ubuntu: apt install g++), or remove offload_optimizer"))
    if adam and ninja is None:
        what = f"{ADAM} compiles DeepSpeed's Adam, and ninja is neither on the PATH nor beside this Python"
        findings.append(error(what, f"{sys.executable} -m pip install ninja"))
    if subject.on_gpu and shutil.which(os.environ.get("CC") or "gcc") is None and shutil.which("clang") is None:
        what = "Triton compiles a launcher for its kernels, and there is no C compiler"
        findings.append(error(what, "install one (Debian, Ubuntu: apt install gcc)"))
    if (adam or subject.on_gpu) and not headers.is_file():
        what = f"kernels are compiled against Python's headers, and {headers} does not exist"
        findings.append(error(what, f"install them (Debian, Ubuntu: apt install python{version}-dev)"))
    found = [str(compiler) if compiler else "no C++ compiler", "ninja" if ninja else "no ninja"]
    found += [
        "Python's headers" if headers.is_file() else "no Python headers",
        f"CUDA in {home}" if (home := cuda_home()) else "no CUDA compiler",
    ]
    yield from findings or [ok(f"{', '.join(found)}; {'the run compiles with them' if adam or subject.on_gpu else 'not needed'}")]


def cxx() -> str | None:
    """The C++ compiler as torch chooses it."""
    return shutil.which(os.environ.get("CXX") or "g++") or (None if os.environ.get("CXX") else shutil.which("c++"))


def cuda_home() -> str | None:
    """CUDA's folder as torch finds it."""
    given = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if given:
        return given if Path(given, "bin", "nvcc").is_file() else None
    if nvcc := shutil.which("nvcc"):
        return str(Path(nvcc).parents[1])
    return str(CUDA_FOLDER) if (CUDA_FOLDER / "bin" / "nvcc").is_file() else None
