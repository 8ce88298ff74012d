"""Serves the report of some runs live: on loopback, below an address with a random token, read-only.

    GET /TOKEN/          the report, made anew when a run has written something
    GET /TOKEN/version   a text that changes with it; the page asks for it every few seconds

Whoever lacks the token gets 404 for every address. A page of another origin cannot ask by a name of its own that leads to
loopback: the Host header must be an address that was asked for.
"""

import errno
import hmac
import ipaddress
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cluster.record.progress.harmless import harmless
from cluster.report.files import RunFiles, open_runs
from cluster.report.write import make_report
from configs.errors import InputError

LOOPBACK = "127.0.0.1"
NAMES = ("localhost", LOOPBACK, "::1")
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,}")
MOST_PORT = 65535
AGAIN_S = 3.0  # least time between two reports
SHARE = 0.1  # of the time that making them may take
LAST = 19  # niceness: a run on this machine goes first
PATIENCE_S = 20.0  # for the rest of a request
WATCHED = (
    "config.toml",
    "metrics.jsonl",
    "layers.jsonl",
    "health.jsonl",
    "warnings.jsonl",
    "timeline.jsonl",
    "responses",
    "capsules",
    "lock",
)
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Live:
    """The newest report of some runs, made when it is asked for and something has changed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """NoRun for a folder without a run."""
        open_runs(folders)
        self.folders = folders
        self.one_at_a_time = threading.Lock()
        self.version, self.html, self.due = "", b"", 0.0

    def newest(self) -> str:
        """A text that changes whenever a run has written something that the report shows."""
        signs = []
        for path in (folder / name for folder in self.folders for name in WATCHED):
            try:
                found = path.stat()
            except OSError:
                continue
            signs.append(f"{path} {found.st_mtime_ns} {found.st_size}")
        signs += [RunFiles(folder).state for folder in self.folders]
        return sha256("\n".join(signs).encode()).hexdigest()[:16]

    def offered(self) -> str:
        """The version that `page` would give now: a newer one is not named before it is due, or pages would be drawn again for nothing."""
        return self.newest() if not self.html or time.monotonic() >= self.due else self.version

    def page(self) -> bytes:
        """The report; one that is only a few seconds old is given again."""
        with self.one_at_a_time:
            version = self.newest()
            began = time.monotonic()
            if not self.html or (version != self.version and began >= self.due):
                self.html = make_report(self.folders, live=version).encode("utf-8", errors="replace")
                self.version = version
                self.due = time.monotonic() + max(AGAIN_S, (time.monotonic() - began) / SHARE)
            return self.html


class Handler(BaseHTTPRequestHandler):
    """Answers GET for the two addresses."""

    server: "Server"
    timeout = PATIENCE_S
    server_version, sys_version = "gatewise", ""

    def do_GET(self) -> None:
        """The report or its version; 404 for whoever lacks the token."""
        given, slash, rest = self.path.partition("?")[0].removeprefix("/").partition("/")
        known = hmac.compare_digest(given.encode("utf-8", errors="replace"), self.server.token.encode()) and self._host_is_known()
        if known and not slash:
            self._answer(HTTPStatus.PERMANENT_REDIRECT, "text/plain", b"", Location=f"/{self.server.token}/")
        elif known and rest in ("", "version"):
            live = self.server.live
            try:
                kind, body = ("text/plain", live.offered().encode()) if rest else ("text/html", live.page())
            except (InputError, OSError) as error:  # the folder was moved away, or a file cannot be read now
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{error}\n".encode("utf-8", errors="replace"))
            else:
                self._answer(HTTPStatus.OK, kind, body)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")

    def _host_is_known(self) -> bool:
        host = self.headers.get("Host", "").strip()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return not is_loopback(self.server.host) or name in (*NAMES, self.server.host)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, **more: str) -> None:
        self.send_response(status)
        for name, value in (HEADERS | more | {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line would hold the token."""


class Server(ThreadingHTTPServer):
    """The server of one command."""

    daemon_threads = True
    allow_reuse_address = False  # two servers on one port would hide that it is taken

    def __init__(self, live: Live, host: str, port: int, token: str) -> None:
        self.live, self.host, self.token = live, host, token
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A line for an error of one request. A browser that leaves while it is answered is none."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"warning: a request could not be answered ({type(error).__name__}: {harmless(str(error))})", file=sys.stderr)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_server(folders: Sequence[Path], host: str = LOOPBACK, port: int = 0, token: str | None = None) -> Server:
    """A server that listens already; InputError where it cannot, or where other machines could ask without a token of the user's."""
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host} lets other machines read the run: give a --token of your own too, or leave --host out and forward the port "
            "(ssh -L PORT:127.0.0.1:PORT MACHINE)"
        )
    if token is not None and not TOKEN.fullmatch(token):
        raise InputError("--token needs at least 16 letters, digits, - or _, since whoever guesses it reads the run")
    if not 0 <= port <= MOST_PORT:
        raise InputError(f"--port got {port}, needed 0 to {MOST_PORT}: leave it out for a free one")
    live = Live(folders)
    try:
        return Server(live, host, port, token or secrets.token_urlsafe(24))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is taken: give another --port, or leave it out for a free one") from error
        if error.errno == errno.EACCES:
            raise InputError(f"port {port} needs rights that this user lacks: give one above 1023, or leave --port out") from error
        raise InputError(f"--host {host} cannot be listened on ({error.strerror or error}): give an address of this machine") from error
