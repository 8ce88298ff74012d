"""Looks at this machine with single checks of `gatewise doctor`, and makes it look like one with GPUs."""

import os
from pathlib import Path

import pytest

from cluster.commands.doctor.diagnosis import Diagnosis
from cluster.commands.doctor.subject import Subject
from cluster.commands.doctor.table import CHECKS, examine
from configs.schema import Config
from tests.toys.machine import install_torch, write_nvidia_smi

CUDA = ("2.13.0", "13.0")
VARIABLES = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD")


def look(name: str, config: Config | None = None, *, joins: bool = False) -> list[Diagnosis]:
    """What one check finds that is not well."""
    (check,) = (check for check in CHECKS if check.name == name)
    return [one for one in examine(Subject(config=config, joins=joins), [check]) if one.status != "ok"]


def named(found: list[Diagnosis], status: str, *parts: str) -> None:
    """Assert that one finding has this status and all parts in what was found or in what to do."""
    texts = [f"{one.found} {one.do}" for one in found if one.status == status and one.do]
    assert any(all(part in text for part in parts) for text in texts), f"no {status} with {parts} in {found}"


def gpu_box(monkeypatch: pytest.MonkeyPatch, folder: Path, *, torch: bool = True, **gpus: object) -> None:
    """This process on a machine with two GPUs, by its `nvidia-smi`, and a CUDA build of torch."""
    write_nvidia_smi(folder / "bin", **gpus)  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if torch:
        monkeypatch.syspath_prepend(install_torch(folder / "site", *CUDA))
