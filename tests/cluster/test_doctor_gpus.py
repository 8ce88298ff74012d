"""Faults of GPUs and of their driver are found and named; `nvidia-smi` is a program that answers as on a machine with two GPUs."""

import os
from pathlib import Path

import pytest

from cluster.actors.places import nvidia
from tests.toys.doctor import CUDA, VARIABLES, gpu_box, look, named
from tests.toys.machine import install_torch, write_program
from tests.toys.run import run_config

SHARED = {"placement": {"share": True}}


@pytest.fixture(autouse=True)
def _no_variable_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(nvidia, "cuda_of_driver", lambda: None)


def test_an_old_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_box(monkeypatch, tmp_path, driver="535.104.05")
    named(look("driver"), "error", "driver 535.104.05 and is too old for torch 2.13.0 (CUDA 13.0 build)", "a driver of 580 or newer")
    assert [one.status for one in look("driver", run_config(tmp_path, run={"dir": str(tmp_path), "device": "cpu"}))] == ["warning"]
    monkeypatch.setattr(nvidia, "cuda_of_driver", lambda: 13)
    assert look("driver") == [], "compatibility packages let an old driver run a newer CUDA"
    gpu_box(monkeypatch, tmp_path / "new", torch=False)
    assert look("driver") == []


def test_a_broken_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"
    monkeypatch.setenv("PATH", f"{write_program(tmp_path, 'nvidia-smi', script)}{os.pathsep}{os.environ['PATH']}")
    named(look("driver"), "warning", "nvidia-smi failed: Failed to initialize NVML: Driver/library version mismatch", "restart the machine")


def test_answers_without_numbers_are_no_fault_of_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_box(monkeypatch, tmp_path, driver="[N/A]")
    assert look("driver") == [], "nothing can be said against a driver without a version"
    row = ["GPU-1", "[N/A]", "[N/A]", "[Insufficient Permissions]"]
    assert nvidia.holder_of(row).pid == 0
    script = "exit 127"
    monkeypatch.setenv("PATH", f"{write_program(tmp_path / 'silent', 'nvidia-smi', script)}{os.pathsep}{os.environ['PATH']}")
    named(look("driver"), "error", "nvidia-smi failed: exit status 127")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "\u00b2")  # a digit for `isdigit`, no number for `int`
    monkeypatch.setenv("MASTER_PORT", "\u00b2")
    failed = [one.found for name in ("places", "ports") for one in look(name) if "the check itself failed" in one.found]
    assert failed == []


def test_a_path_that_is_too_long_is_no_fault_of_the_check(tmp_path: Path) -> None:
    found = look("disks", run_config(tmp_path, run={"dir": str(tmp_path / ("a" * 300))}))
    assert not any("the check itself failed" in one.found for one in found)


def test_a_process_on_a_gpu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_box(monkeypatch, tmp_path, held_by=os.getpid())
    found = look("gpu memory", run_config(tmp_path))
    named(found, "warning", "GPU 0 has 1.05 GB of 85.5 GB free", f"process {os.getpid()} (python, user ", "CUDA_VISIBLE_DEVICES=1")
    named(found, "error", "the run needs 2 GPUs, and 1 of 2 are free")
    assert [
        one.status for one in look("gpu memory", run_config(tmp_path, **SHARED, rollout={"vllm": {"gpu_memory_utilization": 0.4}}))
    ] == ["warning"]


def test_a_name_with_commas_belongs_to_one_process() -> None:
    assert nvidia.holder_of(["GPU-000", "1", "80000", "python", "--list=a", "b"]).name == "python, --list=a, b"


def test_gpus_that_a_run_cannot_use_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_box(monkeypatch, tmp_path, mode="Prohibited", mig="Enabled")
    named(look("gpus"), "error", "GPU 1 is in compute mode Prohibited", "nvidia-smi -i 1 -c 0")
    named(look("gpus"), "warning", "GPU 0 is divided by MIG")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,4")
    named(look("gpus"), "error", "CUDA_VISIBLE_DEVICES names 4, which is no GPU of this machine (0, 1)")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,1")
    named(look("gpus"), "error", "CUDA_VISIBLE_DEVICES names 1, which is no GPU of this machine (0, 1) or named before")
    gpu_box(monkeypatch, tmp_path / "other", torch=False, mode="Exclusive_Process")
    named(look("gpus", run_config(tmp_path, **SHARED)), "error", "Exclusive_Process, and placement.share puts two processes on it")


def test_a_device_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = run_config(tmp_path, run={"dir": str(tmp_path / "run"), "device": "gpu"})
    named(look("device", asked), "error", 'run.device is "gpu", and there is torch 2.13.0+cpu', "make setup DEVICE=gpu")
    gpu_box(monkeypatch, tmp_path, torch=False)
    named(look("device"), "warning", "2 GPUs, but torch 2.13.0+cpu (CPU build): runs use the CPU", "make setup DEVICE=gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    named(look("variables", asked), "error", 'CUDA_VISIBLE_DEVICES="" hides all GPUs')
    monkeypatch.syspath_prepend(install_torch(tmp_path / "site", *CUDA))
    named(look("device", asked), "error", "no visible GPU")
