"""How processes meet: NCCL and its variables, network interfaces, names."""

import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from cluster.commands.doctor.diagnosis import Finding, error, ok, warning
from cluster.commands.doctor.subject import Subject

RESOLVE_S = 3.0
INFINIBAND = Path("/sys/class/infiniband")
ON = ("1", "true", "TRUE", "True")
# Variable, the values that break or slow a run, what they do.
HARMFUL = (
    ("NCCL_P2P_DISABLE", ON, "GPUs of a node exchange through host memory"),
    ("NCCL_SHM_DISABLE", ON, "processes of a node exchange through the network"),
    ("NCCL_DEBUG", ("INFO", "TRACE", "info", "trace"), "NCCL writes every connection into the logs"),
    ("TORCH_NCCL_ASYNC_ERROR_HANDLING", ("0",), "a rank that fails leaves the others waiting"),
    ("NCCL_ASYNC_ERROR_HANDLING", ("0",), "a rank that fails leaves the others waiting"),
)


def check_nccl(subject: Subject) -> Iterator[Finding]:
    """The NCCL that torch brings, and the variables that change what NCCL does."""
    findings = [
        warning(f"{name}={value}: {what}", f"unset {name}") for name, bad, what in HARMFUL if (value := os.environ.get(name, "")) in bad
    ]
    if os.environ.get("NCCL_IB_DISABLE") in ON and has_infiniband():
        findings.append(
            warning("NCCL_IB_DISABLE is set, but this machine has InfiniBand or RoCE, which is faster", "unset NCCL_IB_DISABLE")
        )
    versions = [
        f"{name} {have}" for name, entries in sorted(subject.installed.items()) if name.startswith("nvidia-nccl") for have, _ in entries
    ]
    if len(versions) > 1:
        findings.append(error(f"several NCCLs are installed: {', '.join(versions)}", "keep the one for torch's CUDA"))
    cuda = bool(subject.torch and subject.torch.cuda)
    if cuda and not versions and subject.on_gpu:
        findings.append(
            warning(
                "torch is a CUDA build without an nvidia-nccl package, so it uses the system's NCCL",
                "compare `torch.cuda.nccl.version()` on all nodes",
            )
        )
    yield from findings or [ok(", ".join(versions) if versions else "none: torch is a CPU build, ranks and engines use gloo")]


def has_infiniband() -> bool:
    return INFINIBAND.is_dir() and any(INFINIBAND.iterdir())


def check_network(subject: Subject) -> Iterator[Finding]:
    """Interfaces that variables name, this machine's name and address, loopback."""
    there = sorted(psutil.net_if_addrs())
    findings = [*interfaces(there), *addresses()]
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()[:2], timeout=RESOLVE_S).close()
    except OSError as failed:
        findings.append(error(f"loopback does not work ({failed})", "bring the interface lo up (`ip link set lo up`)"))
    name = socket.gethostname()
    if (found := resolved(name)) is None:
        do = f"add the line `127.0.1.1 {name}` to /etc/hosts, or repair DNS"
        findings.append(warning(f"the host name {name} cannot be resolved; gloo and NCCL ask for it", do))
    meets = outer_address()
    if meets.startswith("127.") and subject.joins:
        findings.append(
            error("this machine has no address but loopback, so other nodes cannot reach it", "connect it to the cluster's network")
        )
    yield from findings or [ok(f"{name} is {found}; nodes would meet at {meets}; interfaces {', '.join(there)}")]


def interfaces(there: list[str]) -> Iterator[Finding]:
    """Variables that name a network interface which this machine does not have."""
    for variable in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME"):
        given = os.environ.get(variable, "")
        exact = variable != "NCCL_SOCKET_IFNAME" or given.startswith("=")  # NCCL takes prefixes, "=" before a whole name, "^" to exclude
        names = [name for name in given.lstrip("=").split(",") if name]
        if given.startswith("^") or not names:
            continue
        if not any(one == name if exact else one.startswith(name) for name in names for one in there):
            what = f"{variable}={given} names no interface of this machine ({', '.join(there)})"
            yield error(what, f"set {variable} to one of them, or unset it")


def addresses() -> Iterator[Finding]:
    """A VLLM_HOST_IP that is no address of this machine."""
    given = os.environ.get("VLLM_HOST_IP")
    if not given:
        return
    own = {address.address for found in psutil.net_if_addrs().values() for address in found}
    try:
        known = str(ipaddress.ip_address(given)) in own
    except ValueError:
        known = False
    if not known:
        yield error(f"VLLM_HOST_IP={given} is no address of this machine", "unset VLLM_HOST_IP")


def resolved(name: str) -> str | None:
    """The address of a host name; None where it has none, or the name server does not answer in time."""
    found: list[str] = []

    def ask() -> None:
        try:
            found.append(socket.gethostbyname(name))
        except (OSError, UnicodeError):  # no such name
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(RESOLVE_S)
    return found[0] if found else None


def outer_address() -> str:
    """The address by which others would reach this machine, as Ray finds it; a UDP socket connects without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 80))  # an address for documentation, so nobody's
        except OSError:  # no route
            return "127.0.0.1"
        return str(probe.getsockname()[0])
