"""What a stranger meets first agrees with itself: version, licence, Pythons, image, targets, pages."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml
from packaging.specifiers import SpecifierSet

from configs.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
MAKE = shutil.which("make") or "make"
WITHOUT_HEAVY = """
import sys
from cluster.cli import main
try:
    main(["--version"])
finally:
    print(sorted({"ray", "torch", "vllm", "transformers", "deepspeed", "numpy"} & set(sys.modules)))
"""


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", found.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return found


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_version_is_equal_everywhere(package: dict[str, Any]) -> None:
    assert package["version"] == VERSION
    assert yaml.safe_load(text("CITATION.cff"))["version"] == VERSION
    assert re.findall(r'image\.version="(.+?)"', text("Dockerfile")) == [VERSION]
    assert re.search(r"^## (\d\S*)", text("CHANGELOG.md"), re.MULTILINE)[1] == VERSION


def test_the_manifest_runs_the_image_that_the_dockerfile_says_how_to_build() -> None:
    built = re.findall(r"docker build -t (\S+)", text("Dockerfile") + text("docs/rayjob.yaml"))
    job, _ = yaml.safe_load_all(text("docs/rayjob.yaml"))
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    images = [container["image"] for pod in pods for container in pod["containers"]]
    assert {*images, *built} == {f"gatewise:{VERSION}"}
    (user,) = re.findall(r"^USER (\d+):\d+$", text("Dockerfile"), re.MULTILINE)
    assert [pod["securityContext"]["runAsUser"] for pod in pods] == [int(user)] * len(pods)


def test_version_is_printed_without_a_heavy_import() -> None:
    command = [sys.executable, "-c", WITHOUT_HEAVY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stdout.splitlines() == [f"gatewise {VERSION}", "[]"]


def test_the_licence_is_apache_2(package: dict[str, Any]) -> None:
    assert text("LICENSE").split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert package["license_expression"] == yaml.safe_load(text("CITATION.cff"))["license"] == "Apache-2.0"


def test_every_package_is_installed(package: dict[str, Any]) -> None:
    folders = {part for part in package["packages"] if "." not in part}
    made = {".".join(file.parent.relative_to(ROOT).parts) for folder in folders for file in (ROOT / folder).rglob("__init__.py")}
    assert folders == {"configs", "rollout", "reward", "learner", "cluster", "gatewise"}
    assert set(package["packages"]) == made


def test_what_may_be_installed_is_what_ci_runs_and_make_looks_for(package: dict[str, Any]) -> None:
    (allowed,) = [SpecifierSet(package["python_requires"])]
    pythons = [f"3.{minor}" for minor in range(30) if allowed.contains(f"3.{minor}.0")]
    job = yaml.safe_load(text(".github/workflows/test.yml"))["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == pythons
    assert any(step.get("run", "").startswith("make test") for step in job["steps"])
    assert re.findall(r"python(3\.\d+)", re.search(r"^PYTHON \?=.*", text("Makefile"), re.MULTILINE)[0]) == pythons


def test_every_target_of_make_is_described() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)", text("Makefile"), re.MULTILINE)
    listed = subprocess.run([MAKE, "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"^(\S+) +(\S.+)$", listed, re.MULTILINE))
    assert set(described) == set(phony.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["setup"], "no python3.11 or python3.12 on the PATH runs"),
        (["docs"], "no python3.11 or python3.12 on the PATH runs"),
        (["setup", "PYTHON=python3.9"], "PYTHON=python3.9 is not that"),
    ],
)
def test_make_without_a_python_says_what_to_do(tmp_path: Path, arguments: list[str], said: str) -> None:
    for name in ("Makefile", "setup.py", "configs/version.py", "requirements/cpu.txt", "requirements/docs.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shim = tmp_path / "bin" / "python3.11"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho the command exists in other versions\nexit 127\n")
    shim.chmod(0o755)
    done = subprocess.run([MAKE, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": str(shim.parent)})
    assert done.returncode != 0
    assert said in done.stderr
    assert f"make {arguments[0]} PYTHON=/path/to/python3.12" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_every_page_is_in_the_navigation() -> None:
    pages = set(re.findall(r"^ +- .*: (\S+\.md)$", text("mkdocs.yml"), re.MULTILINE))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= pages
