"""A hub on loopback that serves the model folders of a test, and a Hugging Face cache of its own."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


@dataclass
class ToyHub:
    """What the hub has: by `owner/name` the commits of each branch, and by commit the files."""

    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)  # served only to a token
    asked: list[str] = field(default_factory=list)  # the paths of all requests
    tokens: list[str | None] = field(default_factory=list)

    def add(self, name: str, commit: str, files: Mapping[str, bytes]) -> None:
        """Put files on the branch main."""
        self.branches.setdefault(name, {})["main"] = commit
        self.files[commit] = dict(files)

    def answer(self, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request."""
        self.asked.append(path)
        self.tokens.append(token)
        parts = unquote(path).strip("/").split("/")
        listing = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if listing else parts[:2])
        if name not in self.branches:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        asked = (parts[5] if len(parts) > 5 else "main") if listing else parts[3]  # /api/models/owner/name/revision/main
        commit = self.branches[name].get(asked, asked)
        if commit not in self.files:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = self.files[commit]
        if listing:
            rows = [
                {"path": file, "rfilename": file, "size": len(data), "oid": digest(data), "type": "file"} for file, data in files.items()
            ]
            said = rows if parts[4:5] == ["tree"] else {"id": name, "sha": commit, "siblings": rows}
            return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()
        if name in self.gated and token is None:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        data = files.get("/".join(parts[4:]))
        if data is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        return 200, {"ETag": f'"{digest(data)}"', "X-Repo-Commit": commit}, data


def digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextmanager
def serving(hub: ToyHub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[str]:
    """Serve the hub, and point huggingface_hub to it and to a cache of the test; the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(urlsplit(self.path).path, self.headers.get("Authorization"))
            self.send_response(status)
            for header, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(header, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_to(monkeypatch, f"http://127.0.0.1:{server.server_port}", cache)
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Make huggingface_hub use an address and a cache; it reads the environment only when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.delenv("HF_TOKEN", raising=False)
