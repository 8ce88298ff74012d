"""`gatewise watch`: who may read a run, where it listens, and that it shows what is new."""

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.report import watch
from cluster.report.watch import Server, open_server

TOKEN = "t" * 20


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(watch, "make_report", lambda folders, live: f"report {live} of {(folders[0] / 'metrics.jsonl').read_text()}")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    return tmp_path


@contextmanager
def served(run: Path, **given: object) -> Iterator[Server]:
    with open_server([run], **given) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: Server, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    link = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    link.request(method, path, headers={"Host": host} if host else {})
    answer = link.getresponse()
    return answer.status, answer.read().decode(), dict(answer.headers)


def test_only_the_token_reads_the_run_and_nothing_is_listened_on_but_loopback(run: Path) -> None:
    with served(run) as server, served(run) as other:
        assert server.server_address[0] == "127.0.0.1"
        assert server.token != other.token
        assert len(server.token) >= 32
        status, text, headers = ask(server, f"/{server.token}/")
        assert (status, text[:7]) == (200, "report ")
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Python" not in headers["Server"]
        wrong = ["/", "/x/", f"/{other.token}/", f"/{server.token}/../", f"/{server.token}/metrics.jsonl", "//", "/%2e%2e/", "/%ff/"]
        assert {ask(server, path)[0] for path in wrong} == {404}
        assert ask(server, f"/{server.token}/", method="POST")[0] == 501
        status, _, headers = ask(server, f"/{server.token}")
        assert (status, headers["Location"]) == (308, f"/{server.token}/")


NAMES = {"127.0.0.1:1": 200, "localhost": 200, "[::1]:80": 200, "evil.example": 404, "127.0.0.1.evil.example": 404}


@pytest.mark.parametrize(("host", "status"), NAMES.items())
def test_a_name_that_someone_else_leads_to_loopback_reads_nothing(run: Path, host: str, status: int) -> None:
    with served(run) as server:
        assert ask(server, f"/{server.token}/", host)[0] == status


def test_what_a_run_writes_is_shown_and_a_folder_that_vanishes_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "AGAIN_S", 0.0)
    monkeypatch.setattr(watch, "SHARE", 1e9)
    with served(run, token=TOKEN) as server:
        before = ask(server, f"/{TOKEN}/version")[1]
        assert ask(server, f"/{TOKEN}/")[1] == f'report {before} of {{"step": 1}}\n'
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"step": 2}\n')
        after = ask(server, f"/{TOKEN}/version?x=1")[1]
        assert after != before
        assert ask(server, f"/{TOKEN}/")[1].startswith(f"report {after} of")
        (run / "metrics.jsonl").unlink()
        for path in ("", "version"):
            status, text, _ = ask(server, f"/{TOKEN}/{path}")
            assert (status, "metrics.jsonl" in text) == (503, True)


def test_a_browser_that_leaves_while_it_is_answered_is_no_error(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(run) as server:
        for error in (BrokenPipeError(), ConnectionResetError(), TimeoutError(), ValueError("odd\x1b[31m")):
            try:
                raise error
            except (OSError, ValueError):
                server.handle_error(None, None)
    assert capsys.readouterr().err == "warning: a request could not be answered (ValueError: odd\\x1b[31m)\n"


def test_an_address_of_ip_6_stands_in_brackets(run: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no address of IPv6")
    with served(run, host="::1", token=TOKEN) as server:
        assert server.address == f"http://[::1]:{server.server_address[1]}/{TOKEN}/"


def test_a_report_is_made_again_only_after_a_while(run: Path) -> None:
    with served(run, token=TOKEN) as server:
        first = ask(server, f"/{TOKEN}/")[1]
        version = ask(server, f"/{TOKEN}/version")[1]
        (run / "metrics.jsonl").write_text("")
        assert ask(server, f"/{TOKEN}/")[1] == first
        assert ask(server, f"/{TOKEN}/version")[1] == version, "a newer one would have the page drawn again for nothing"
        server.live.due = 0.0
        assert ask(server, f"/{TOKEN}/version")[1] != version


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--host 0.0.0.0", "give a --token of your own"),
        ("--host ::", "give a --token of your own"),
        ("--host example", "give a --token of your own"),
        ("--token short", "at least 16 letters"),
        ("--token aaaaaaaaaaaaaaaaaaaa/../", "at least 16 letters"),
        ("--port 70000", "needed 0 to 65535"),
        ("--port -1", "needed 0 to 65535"),
        ("--host 203.0.113.7 --token aaaaaaaaaaaaaaaaaaaa", "give an address of this machine"),
        ("--port TAKEN", "is taken: give another --port"),
    ],
)
def test_what_cannot_be_listened_on_is_refused(
    run: Path, words: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda _: 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit):
            main(["watch", str(run), *words.replace("TAKEN", str(taken.getsockname()[1])).split()])
    assert said in capsys.readouterr().err


def test_a_folder_without_a_run_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        open_server([tmp_path])
