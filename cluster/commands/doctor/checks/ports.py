"""Ports that a Ray head takes, or that a variable fixes, and who listens there. A local run chooses free ports itself."""

import os
from collections.abc import Iterator

import psutil

from cluster.commands.doctor.checks.ray_cluster import HEAD, NODE
from cluster.commands.doctor.diagnosis import Finding, error, ok, warning
from cluster.commands.doctor.subject import Subject

PORTS = {6379: "Ray's head (and Redis)", 8265: "Ray's dashboard and jobs", 10001: "Ray's clients"}
OPTIONS = {6379: "--port", 8265: "--dashboard-port", 10001: "--ray-client-server-port"}
OF_PORTS = ("MASTER_PORT", "VLLM_PORT")  # a fixed port is taken by the first process that uses it


def check_ports(_: Subject) -> Iterator[Finding]:
    """Who listens on the ports of a Ray head, and on a port that a variable fixes. A local run chooses free ports itself."""
    held = listeners()
    findings = []
    for port, use in PORTS.items():
        if port not in held:
            continue
        if of_ray(held[port]):
            findings.append(ok(f"{port}: {describe(held[port])}"))
        else:
            what = f"port {port} of {use} is held by {describe(held[port])}"
            findings.append(
                warning(what, f"only if a Ray head is to start here: end that process, or give another port ({OPTIONS[port]}=NUMBER)")
            )
    for variable in OF_PORTS:
        given = os.environ.get(variable, "")
        if given.isdecimal() and int(given) in held:
            what = f"{variable}={given}, and that port is held by {describe(held[int(given)])}"
            findings.append(error(what, f"unset {variable}: free ports are chosen"))
        elif given:
            findings.append(warning(f"{variable}={given} fixes a port, and two engines or runs on a node need two", f"unset {variable}"))
    yield from findings or [ok(f"{', '.join(map(str, PORTS))} are free")]


def listeners() -> dict[int, psutil.Process | None]:
    """The process that listens on each TCP port; None where it belongs to another user, and cannot be seen."""
    found: dict[int, psutil.Process | None] = {}
    for one in psutil.net_connections(kind="tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr:
            try:
                found[one.laddr.port] = psutil.Process(one.pid) if one.pid else found.get(one.laddr.port)
            except psutil.Error:
                found.setdefault(one.laddr.port, None)
    return found


def of_ray(process: psutil.Process | None) -> bool:
    """Whether a process is one of Ray's, by its program or the module that it runs."""
    if process is None:
        return False
    try:
        return process.name() in (HEAD, NODE) or any("/ray/" in word or word.startswith("ray.") for word in process.cmdline())
    except psutil.Error:
        return False


def describe(process: psutil.Process | None) -> str:
    """A process by its name, number and user; its arguments are not shown, as they may have secrets."""
    try:
        return "another user's process" if process is None else f"{process.name()} (process {process.pid}, user {process.username()})"
    except (psutil.Error, KeyError):
        return "a process that has just ended"
