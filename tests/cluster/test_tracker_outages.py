"""A tracker that hangs, refuses, fails or dies costs the run no time and no exit status, and gets everything later."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.record.metrics.trackers import followers
from cluster.record.metrics.trackers.followers import Followers
from cluster.record.metrics.trackers.following import Asked
from cluster.record.metrics.trackers.state import read_state
from tests.toys.tracker import FULL

ASKED = Asked(project="p", name="n", offline=False, responses_every=2, end_s=20.0)


class Server:
    """A tracker's server: it answers `whole` requests, then does what `after` says."""

    def __init__(self, whole: float, after: str = "") -> None:
        self.got: list[dict[str, Any]] = []
        self.whole, self.after = whole, after
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if len(outer.got) >= outer.whole:
                    if outer.after == "hangs":
                        outer.released.wait(60)
                    if outer.after in ("hangs", "dies"):
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    self.send_error(500)
                    return
                outer.got.append(data)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def steps(self) -> dict[int, dict[str, float]]:
        """What it has of the run's numbers."""
        lines = [line for one in self.got if one["what"] == "scalars" for line in one["content"]]
        assert len(lines) == len({step for step, _ in lines}), "no step was sent twice"
        return {step: values for step, values in lines}

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """An address where connections are made and nobody answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def refusing() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def values(step: int) -> dict[str, float]:
    return {"reward/mean": step / 8, "seconds/step": 2.0 + step}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text('[run]\nsteps = 6\n[model]\npath = "m"\n')
    return tmp_path


def learn(run: Path, step: int) -> None:
    """Write what a step leaves."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, **values(step), "nan": None}) + "\n")


def test_six_outages_cost_the_run_nothing_and_are_made_up_for_later(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "FOLLOW", "tests.toys.tracker")
    servers = {"well": Server(1000), "middle": Server(2, "hangs"), "died": Server(2, "dies"), "error": Server(1, "fails")}
    said: list[str] = []
    slowest = 0.0
    with silent() as nobody:
        places = {name: server.address for name, server in servers.items()} | {"connect": nobody, "refused": refusing(), "disk": FULL}
        for name, place in places.items():
            monkeypatch.setenv(f"TOY_{name.upper()}", place)
        all_of_them = Followers(run, list(places), ASKED, said.append)
        learned = 1
        learn(run, learned)
        all_of_them.start()
        family = [psutil.Process(process.pid) for process in all_of_them.processes.values()]
        deadline = time.monotonic() + 120
        while len([line for line in said if "gets nothing" in line]) < len(places) - 1 or 1 not in servers["well"].steps():
            assert time.monotonic() < deadline, said
            started = time.monotonic()
            all_of_them.tell()
            slowest = max(slowest, time.monotonic() - started)
            if all(1 in servers[name].steps() for name in ("middle", "died")):  # what hangs and dies in the middle has had a step
                learned += 1
                learn(run, learned)
            time.sleep(0.1)
        started = time.monotonic()
        assert not all_of_them.end(lambda: False, troubled_s=1.5)
        assert time.monotonic() - started < ASKED.end_s + 5
    assert slowest < 0.5, "a step waits for no tracker"
    assert not any(process.is_running() for process in family)
    wrong = sorted(set(places) - {"well"})
    for name in wrong:
        assert len([line for line in said if line.startswith(f"warning: {name} gets nothing")]) == 1
        assert len([line for line in said if line.startswith(f"warning: {name} ") and "gatewise track" in line]) == 1
    assert not [line for line in said if line.startswith("warning: well")]
    assert any("disk gets nothing at the moment (OSError: [Errno 28] No space left on device)" in line for line in said)
    assert any("connect gets nothing at the moment (no answer for 1 s)" in line for line in said)
    assert servers["well"].steps() == {step: values(step) for step in range(1, learned + 1)}
    make_up(run, learned, {name: servers.get(name) for name in wrong}, monkeypatch)
    for server in servers.values():
        server.close()


def make_up(run: Path, learned: int, had: dict[str, Server | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What `track` does once the servers are well again: each gets the steps that it lacks, and no other."""
    well = {name: Server(1000) for name in had}
    for name, server in well.items():
        monkeypatch.setenv(f"TOY_{name.upper()}", server.address)
    said: list[str] = []
    later = Followers(run, list(well), ASKED.model_copy(update={"end_s": 90.0}), said.append)
    later.start()
    assert later.end(lambda: False, troubled_s=90.0), said
    for name, server in well.items():
        before = old.steps() if (old := had[name]) else {}
        assert before | server.steps() == {step: values(step) for step in range(1, learned + 1)}
        assert not before.keys() & server.steps().keys()
        assert server.got[0]["content"]["resumed"] == bool(before or (old and old.got))
        assert server.got[-1]["what"] == "close"
        assert read_state(run, name).complete
        server.close()


def test_a_driver_that_is_killed_leaves_no_follower(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "FOLLOW", "tests.toys.tracker")
    learn(run, 1)
    with silent() as nobody:
        monkeypatch.setenv("TOY_ONE", nobody)
        one = Followers(run, ["one"], ASKED.model_copy(update={"end_s": 0.5}), print)
        one.start()
        process = one.processes["one"]
        assert process.stdin is not None
        process.stdin.close()  # as the kernel does
        assert process.wait(60) == 3
