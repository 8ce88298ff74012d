"""What attacks aim at: a secret, a server, a folder; and whether all of it, and the machine, is as it was."""

import os
import socket
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.reward.attacks.reach import HELPERS

ROOT = Path(__file__).resolve().parents[3]
SENTINEL = "gatewise-sentinel-5f2c"
MARK = "attack-mark"


@dataclass(frozen=True)
class World:
    """Targets outside the sandbox, and how they were."""

    folder: Path
    servers: tuple[socket.socket, ...]
    names: str  # the head of a program that defines them
    before: object

    def program(self, body: str) -> str:
        return f"{HELPERS}{self.names}{body}"

    def state(self) -> object:
        """Everything that no program may change."""
        secret = self.folder / "secret"
        places = (self.folder / "outside", ROOT, ROOT / "reward", Path.home(), Path(sysconfig.get_path("stdlib")), Path(os.__file__).parent)
        return (
            secret.read_text(),
            secret.stat().st_mode,
            secret.stat().st_mtime,
            sorted(os.listdir(self.folder)),
            [str(found) for place in places for found in place.glob(f"*{MARK}*")],
            Path(os.__file__).stat().st_mtime,
        )

    def assert_unchanged(self) -> None:
        """Nothing was changed, nobody has called at a server."""
        assert self.state() == self.before
        for server in self.servers:
            try:
                visitor, _ = server.accept() if server.type == socket.SOCK_STREAM else server.recvfrom(9)
            except BlockingIOError:
                continue
            raise AssertionError(f"somebody called: {visitor!r}")


def strangers(launcher: int) -> list[str]:
    """Processes that the launcher has started and that still run, and those of any launcher that got away from their parent."""
    running = {process.pid: process.info for process in psutil.process_iter(["pid", "ppid", "uids", "cmdline", "status"])}
    found = []
    for info in running.values():
        if "reward.programs.launcher" not in " ".join(words := info["cmdline"] or []):
            continue
        parent = running.get(info["ppid"], {"cmdline": []})
        of_an_owner = words[-3] == str(info["ppid"])
        of_a_launcher = "reward.programs.launcher" in " ".join(parent["cmdline"] or [])
        if info["ppid"] == launcher or not (of_an_owner or of_a_launcher):
            found.append(str(info))
    return found


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Targets in a folder that is opened to everybody, so that only the sandbox keeps a program away."""
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.getuid() and place not in (Path("/"), Path("/tmp")):
            place.chmod(place.stat().st_mode | 0o055)
    (folder / "secret").write_text(SENTINEL)
    (folder / "secret").chmod(0o666)
    (folder / "outside").mkdir()
    (folder / "outside").chmod(0o777)
    abstract = f"\0gatewise-attacks-{os.getpid()}"
    with ExitStack() as stack:
        kinds = [
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
            (socket.AF_UNIX, socket.SOCK_STREAM, abstract),
            (socket.AF_UNIX, socket.SOCK_DGRAM, abstract + "-datagram"),
        ]
        servers = []
        for family, kind, address in kinds:
            server = stack.enter_context(socket.socket(family, kind))
            server.bind(address)
            server.setblocking(False)
            if kind == socket.SOCK_STREAM:
                server.listen()
            servers.append(server)
        (folder / "socket").chmod(0o777)
        names = {
            "SECRET": str(folder / "secret"),
            "OUTSIDE": str(folder / "outside"),
            "SOCKET": str(folder / "socket"),
            "ROOT": str(ROOT),
            "PORT": servers[0].getsockname()[1],
            "ABSTRACT": abstract,
        }
        head = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        blank = World(folder, tuple(servers), head, None)
        yield World(folder, tuple(servers), head, blank.state())
