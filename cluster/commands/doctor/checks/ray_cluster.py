"""The Ray cluster that RAY_ADDRESS names, and the Rays that run on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from cluster.actors.session import refuse_silent_address
from cluster.commands.doctor.diagnosis import Finding, error, ok, refusal, warning
from cluster.commands.doctor.installed import version_of
from cluster.commands.doctor.subject import Subject

HEAD, NODE = "gcs_server", "raylet"
OF_THIS_MACHINE = ("auto", "127.0.0.1", "localhost")


def check_ray(_: Subject) -> Iterator[Finding]:
    """Whether RAY_ADDRESS answers, and which Rays run on this machine."""
    heads, nodes = running(HEAD), running(NODE)
    here = f"on this machine: {', '.join(map(describe, [*heads, *nodes]))}" if heads or nodes else "no Ray on this machine"
    address = os.environ.get("RAY_ADDRESS", "")
    if not address and nodes:
        what = f"{here}; a run starts a Ray of its own beside it, and both count all cores and GPUs"
        yield warning(what, "wait for the run to which it belongs; a cluster is used with RAY_ADDRESS=auto, and ended with `ray stop`")
    elif not address:
        yield ok(f"{here}; a run starts its own, on loopback")
    else:
        yield from joined(address, here, nodes)


def joined(address: str, here: str, nodes: list[psutil.Process]) -> Iterator[Finding]:
    """Whether the cluster at an address answers and, if it runs here, has our version of Ray."""
    try:
        refuse_silent_address(address)
    except ValueError as refused:
        yield refusal(refused)
        return
    if address == "auto" and not nodes:
        what = "RAY_ADDRESS is auto, and no Ray runs on this machine"
        yield error(what, "start one (`ray start --head`), give HOST:6379 of a cluster, or unset RAY_ADDRESS to run on this machine alone")
        return
    ours, theirs = version_of("ray"), {found for node in nodes if (found := version_of_process(node))}
    if theirs and ours not in theirs and address.partition(":")[0] in OF_THIS_MACHINE:
        what = f"the cluster here runs Ray {', '.join(sorted(theirs))}, and this installation has {ours}"
        yield error(what, "use the cluster's environment, or start the cluster with this one")
    yield ok(f"RAY_ADDRESS is {address}{'' if address == 'auto' else ', which answers'}; {here}")


def running(name: str) -> list[psutil.Process]:
    """The processes of that name."""
    return [process for process in psutil.process_iter(["name", "username"]) if process.info["name"] == name]


def describe(process: psutil.Process) -> str:
    found = version_of_process(process)
    return f"{process.info['name']}{f' of Ray {found}' if found else ''} (process {process.pid}, user {process.info['username']})"


def version_of_process(process: psutil.Process) -> str | None:
    """The version of the Ray whose program a process runs, from the package beside it; None where that cannot be seen."""
    try:
        program = Path(next(iter(process.cmdline()), ""))
    except psutil.Error:
        return None
    home = next((folder for folder in program.parents if folder.name == "ray" and (folder / "core").is_dir()), None)
    package = next(iter(home.parent.glob("ray-*.dist-info")), None) if home else None
    return package.name.split("-")[1].removesuffix(".dist") if package else None
