"""The checkers behind the network, against a real server: every failure is typed, and limited in time and number."""

import asyncio
import gc
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from configs.schema import Config
from reward.checkers import check_reference, known_checkers
from reward.services.backoff import asked_pause, pause_before
from reward.services.endpoint import MAX_ANSWER_BYTES
from reward.services.services import Services
from rollout.types import Outcome, Verdict
from tests.toys.services import (
    OK,
    Answer,
    Asked,
    always,
    at,
    direct,  # noqa: F401
    http,
    in_order,
    judge,
    nobody,
    score,
    serving,
    unscorable,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("direct")]


def test_services_are_known_checkers_and_take_any_json_as_reference() -> None:
    assert {"http", "judge"} <= set(known_checkers())
    for name in ("http", "judge"):
        check_reference(name, {"answers": [1, "two", None]})
        for bad in (object(), float("nan"), [float("inf")]):
            with pytest.raises(ValueError, match=f"checker '{name}': reference must be a JSON value"):
                check_reference(name, bad)


def test_an_http_checker_gets_prompt_response_and_reference_and_its_number_is_the_reward() -> None:
    with serving(lambda asked, _: Answer({"score": len(asked.json["response"]) / 4, "why": "length"})) as server:
        verdicts = score(at(server), [http("a" * n, {"n": n}) for n in range(9)])
        unpaired, *_ = score(at(server), [http("\ud800{}")])
    assert verdicts == [Verdict(reward=n / 4, parts={"correct": n / 4}) for n in range(9)]
    assert {"prompt": "6 * 7?", "response": "aaa", "reference": {"n": 3}} in [asked.json for asked in server.asked]
    assert (unpaired.reward, server.asked[-1].json["response"]) == (0.75, "?{}")
    assert {(asked.method, asked.path) for asked in server.asked} == {("POST", "/")}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"null", b"1", b"[1]", b"{}", b'{"score": true}', b'{"score": "1"}', b'{"score": null}', b'{"score": NaN}',
        b'{"score": -Infinity}', b'{"score": 1e999}', b'{"score": 1' + b"0" * 400 + b"}", b'{"score": 1' + b"0" * 5000 + b"}",
        b'{"score": 1', b"\xff\xfe\x00", b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_answer_that_is_no_finite_number_is_no_score_and_is_not_asked_for_again(body: bytes) -> None:
    with serving(always(body)) as server:
        (verdict,) = score(at(server), [http()])
    assert len(unscorable(verdict, "error: http: answered no ")) < 600
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_fails_for_a_while_is_asked_again(status: int) -> None:
    with serving(in_order(Answer(b"busy", status), Answer(b"busy", status), Answer(OK))) as server:
        assert [v.reward for v in score(at(server), [http()])] == [1.0]
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_is_refused_for_good_is_asked_once(status: int) -> None:
    with serving(always({"error": "context too long"}, status=status)) as server:
        (verdict,) = score(at(server), [http()])
    unscorable(verdict, f"error: http: HTTP {status}: ", "context too long")
    assert len(server.asked) == 1


def test_tries_end_with_the_last_failure() -> None:
    with serving(always(b"overloaded", status=503)) as server:
        verdicts = score(at(server), [http(), judge()])
    assert [unscorable(v, "HTTP 503: overloaded (3 tries)") for v in verdicts]
    assert len(server.asked) == 6


def test_the_pause_that_a_service_asks_for_is_kept_by_everyone() -> None:
    with serving(in_order(Answer(status=429, headers={"Retry-After": "1"}), Answer(OK))) as server:
        verdicts = score(at(server, concurrency=1), [http("a"), http("b"), http("c")])
    assert [v.reward for v in verdicts] == [1.0] * 3
    first, *later = [asked.at for asked in server.asked]
    assert len(later) == 3
    assert min(later) - first >= 1.0


def test_a_service_that_asks_for_a_very_long_pause_is_not_waited_for() -> None:
    with serving(always(b"", status=429, headers={"Retry-After": "3600"})) as server:
        (verdict,) = score(at(server), [http()])
    unscorable(verdict, "HTTP 429, to be asked again in 3600 s")
    assert len(server.asked) == 1


def test_retry_after_may_be_seconds_or_a_date() -> None:
    assert [asked_pause(header) for header in (None, "7", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT")] == [0, 7, 0, 0, 0]
    assert asked_pause("Wed, 21 Oct 2099 07:28:00 GMT") > 1e9


@pytest.mark.parametrize("offset", ["+99999999999999999", "+9999", "-99999999999"])
def test_a_date_with_an_absurd_offset_asks_for_no_pause(offset: str) -> None:
    header = f"Wed, 21 Oct 2099 07:28:00 {offset}"
    assert asked_pause(header) == 0
    with serving(in_order(Answer(status=429, headers={"Retry-After": header}), Answer(OK))) as server:
        assert [v.reward for v in score(at(server), [http()])] == [1.0]


def test_pauses_double_and_are_drawn() -> None:
    assert all(0.5 * base <= pause_before(n) <= base for n, base in ((1, 0.01), (2, 0.02), (5, 0.16)))
    assert len({pause_before(3) for _ in range(10)}) > 1
    assert pause_before(100) <= 30


@pytest.mark.parametrize("drip_s", [0.0, 0.1], ids=["silent", "dripping"])
def test_an_answer_that_does_not_come_in_time_is_a_timeout(drip_s: float) -> None:
    done = threading.Event()

    def slow(*_: object) -> Answer:
        if not drip_s:
            done.wait(20)
        return Answer(b'{"score": 1}' + b" " * 100, drip_s=drip_s)

    with serving(slow) as server:
        (verdict,) = score(at(server, timeout_s=0.3, retries=0), [http()])
        done.set()
    assert verdict.outcome is Outcome.TIMED_OUT
    assert verdict.failure == "timeout: http: no answer within 0.3 s (1 try)"


def test_a_service_that_is_not_there_is_a_typed_failure_after_all_tries() -> None:
    with nobody() as url:
        verdicts = score(at(url), [http(), judge()])
    for verdict in verdicts:
        unscorable(verdict, "ConnectError", "(3 tries)")


def test_a_connection_that_breaks_is_tried_again() -> None:
    heard: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        for said in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"score": 1}'):
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(1 << 16))
                connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        assert [v.reward for v in score(at(f"http://127.0.0.1:{listener.getsockname()[1]}"), [http()])] == [1.0]
        thread.join(10)
    assert len(heard) == 3


def test_an_answer_without_end_is_cut_off() -> None:
    with serving(always(b'{"score": 1}' + b" " * (2 * MAX_ANSWER_BYTES))) as server:
        (verdict,) = score(at(server), [http()])
    unscorable(verdict, f"answered more than {MAX_ANSWER_BYTES} bytes")
    assert len(server.asked) == 1


def test_the_budget_counts_every_try_and_then_nothing_is_asked() -> None:
    with serving(in_order(Answer(b"busy", 500), Answer(OK))) as server:
        verdicts = score(at(server, budget=4, concurrency=1), [http(str(n)) for n in range(6)])
    assert len(server.asked) == 4
    assert [v.reward for v in verdicts].count(1.0) == 3
    for verdict in verdicts:
        if verdict.reward is None:
            unscorable(verdict, "error: http: budget spent: http.budget allowed 4 requests in this run")


def test_no_more_requests_are_under_way_than_allowed_and_not_fewer() -> None:
    together = threading.Barrier(3)

    def answer(*_: object) -> Answer:
        together.wait(20)  # broken, and an error, unless three are there at once
        return Answer(OK)

    with serving(answer) as server:
        verdicts = score(at(server, concurrency=3), [http(str(n)) for n in range(12)])
    assert [v.reward for v in verdicts] == [1.0] * 12
    assert server.most_at_once == 3


def test_one_object_serves_the_event_loops_of_several_threads_and_leaves_no_descriptor() -> None:
    with serving(lambda asked, _: Answer({"score": int(asked.json["response"])})) as server:
        before = len(os.listdir("/proc/self/fd"))
        services = Services(at(server, concurrency=2))

        async def use(number: int) -> list[float | None]:
            return [v.reward for v in await services.score([http(str(number))] * 6)]

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda n: asyncio.run(use(n)), range(4))) == [[float(n)] * 6 for n in range(4)]

        async def end() -> None:
            await use(1)
            await services.close()
            with pytest.raises(RuntimeError, match="the service 'http' is closed"):
                await use(1)

        asyncio.run(end())
    deadline = time.monotonic() + 20  # the server's threads close their ends when they get to it
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_cancelled_caller_leaves_the_slots_to_the_others() -> None:
    release = threading.Event()

    def answer(asked: Asked, _: int) -> Answer:
        if asked.json["response"] == "slow":
            release.wait(20)
        return Answer(OK)

    async def main(config: Config) -> list[Verdict]:
        services = Services(config)
        impatient = asyncio.create_task(services.score([http("slow")] * 4))
        await asyncio.sleep(0.1)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        try:
            return await asyncio.wait_for(services.score([http("quick")]), 20)
        finally:
            release.set()
            await services.close()

    with serving(answer) as server:
        assert [v.reward for v in asyncio.run(main(at(server, concurrency=1)))] == [1.0]


def test_a_reference_that_is_no_json_fails_alone() -> None:
    with serving(always(OK)) as server:
        verdicts = score(at(server), [http("1", object()), http("1", float("nan")), http()])
    for verdict in verdicts[:2]:
        unscorable(verdict, "error: http: reference must be a JSON value")
    assert verdicts[2].reward == 1.0
