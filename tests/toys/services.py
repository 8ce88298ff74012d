"""A real HTTP server on the loopback that answers as a test tells it to, and remembers what it was asked."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from configs.schema import Config
from reward.services import backoff
from reward.services.services import Services
from reward.workers.tasks import Item
from rollout.types import Outcome, Verdict

OK = {"score": 1}


@dataclass
class Asked:
    """One request, as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What the server says."""

    body: object = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float = 0.0  # pause before each byte

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Server:
    """Where the server is, and every request so far."""

    url: str
    asked: list[Asked]
    most_at_once: int = 0
    at_once: int = 0


class Quiet(ThreadingHTTPServer):
    """A server that hands every request to a function, and says nothing of clients that hang up."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[Asked, int], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.lock = answer, threading.Lock()
        self.seen = Server(f"http://127.0.0.1:{self.server_port}", [])

    def reply(self, asked: Asked) -> Answer:
        with self.lock:
            number = len(self.seen.asked)
            self.seen.asked.append(asked)
            self.seen.at_once += 1
            self.seen.most_at_once = max(self.seen.most_at_once, self.seen.at_once)
        try:
            return self.answer(asked, number)
        finally:
            with self.lock:
                self.seen.at_once -= 1

    def handle_error(self, *_: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1 with connections that stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Quiet

    def reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = self.server.reply(Asked(self.command, self.path, dict(self.headers), body))
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said.raw)))
        self.end_headers()
        try:
            if self.command != "HEAD":
                self.say(said)
        except OSError:  # the client hung up, which is what some tests want
            self.close_connection = True

    do_GET = do_HEAD = do_POST = reply

    def say(self, said: Answer) -> None:
        if not said.drip_s:
            self.wfile.write(said.raw)
            return
        for byte in said.raw:
            time.sleep(said.drip_s)
            self.wfile.write(bytes([byte]))

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(answer: Callable[[Asked, int], Answer]) -> Iterator[Server]:
    """A server whose answer to each request, and its number from 0, the function gives; it may wait."""
    http = Quiet(answer)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield http.seen
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def graded(text: object, **choice: object) -> dict[str, object]:
    """A chat completion of that text."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}]}


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between, and pauses are short."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)


def config(**tables: dict[str, Any]) -> Config:
    return Config.model_validate({"model": {"path": "m"}, "data": {"train": "d.jsonl"}, **tables})


def at(server: Server | str, **settings: Any) -> Config:
    """A config whose two services are both the server."""
    shared = {"url": server if isinstance(server, str) else server.url, "timeout_s": 30.0, "retries": 2, **settings}
    return config(http=shared, judge={"model": "grader", **shared})


@contextmanager
def nobody() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, so that nobody else comes to listen there
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def http(response: str = "42", reference: Any = "42") -> Item:
    return Item(checker="http", response=response, reference=reference, prompt="6 * 7?")


def judge(response: str = "42", reference: Any = "42") -> Item:
    return Item(checker="judge", response=response, reference=reference, prompt="6 * 7?")


def score(config: Config, items: Sequence[Item]) -> list[Verdict]:
    async def main() -> list[Verdict]:
        services = Services(config)
        try:
            return await services.score(items)
        finally:
            await services.close()

    return asyncio.run(main())


def always(body: object, **rest: Any) -> Callable[[Asked, int], Answer]:
    return lambda *_: Answer(body, **rest)


def in_order(*answers: Answer) -> Callable[[Asked, int], Answer]:
    """The answers one after the other, the last for ever."""
    return lambda _, number: answers[min(number, len(answers) - 1)]


def unscorable(verdict: Verdict, *said: str) -> str:
    assert verdict.outcome is Outcome.UNSCORABLE
    assert verdict.reward is None
    assert verdict.failure is not None
    for words in said:
        assert words in verdict.failure
    return verdict.failure
