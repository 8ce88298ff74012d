"""A service that is slow or has fallen silent holds up no step: waits are limited, and after a row of silence it is left alone."""

import asyncio
import threading

import pytest

from reward.services.services import Services
from rollout.types import Outcome
from tests.toys.services import (
    OK,
    Answer,
    Asked,
    always,
    at,
    direct,  # noqa: F401
    http,
    score,
    serving,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("direct")]


def test_a_wait_for_a_slot_counts_against_the_time_of_a_response() -> None:
    done = threading.Event()

    def slow(asked: Asked, _: int) -> Answer:
        done.wait(0.2)
        return Answer(OK)

    with serving(slow) as server:
        verdicts = score(at(server, timeout_s=0.5, retries=0, concurrency=1), [http(str(n)) for n in range(12)])
        done.set()
    late = [v for v in verdicts if v.outcome is Outcome.TIMED_OUT]
    assert {v.outcome for v in verdicts} == {Outcome.SCORED, Outcome.TIMED_OUT}
    assert len(server.asked) == len(verdicts) - len(late) <= 4
    assert all(v.failure and "timeout: http: the service is too slow: waited 0.5" in v.failure for v in late)


def test_a_pause_that_ends_after_the_time_of_a_response_is_not_waited_for() -> None:
    with serving(always(b"", status=429, headers={"Retry-After": "50"})) as server:
        (verdict,) = score(at(server, timeout_s=1.0), [http()])
    assert (verdict.outcome, len(server.asked)) == (Outcome.TIMED_OUT, 1)


def test_a_service_that_has_fallen_silent_is_asked_once_in_a_while_until_it_answers() -> None:
    back, release = threading.Event(), threading.Event()

    def answer(*_: object) -> Answer:
        if not back.is_set():
            release.wait(20)
        return Answer(OK)

    async def main(services: Services) -> None:
        timed_out = await services.score([http(str(n)) for n in range(100)])
        assert {v.outcome for v in timed_out} == {Outcome.TIMED_OUT}
        refused = await services.score([http(str(n)) for n in range(100)])
        assert {v.outcome for v in refused} == {Outcome.TIMED_OUT}
        assert sum("did not answer 8 responses in a row" in (v.failure or "") for v in refused) >= 95
        assert len(server.asked) <= 8 + 7 + 5  # the row, those that began while it grew, and probes
        back.set()
        while (await services.score([http()]))[0].outcome is not Outcome.SCORED:
            await asyncio.sleep(0.05)
        assert {v.outcome for v in await services.score([http(str(n)) for n in range(20)])} == {Outcome.SCORED}
        await services.close()

    with serving(answer) as server:
        try:
            asyncio.run(main(Services(at(server, timeout_s=0.5, retries=0, concurrency=8))))
        finally:
            release.set()


def test_answers_that_are_errors_do_not_make_a_service_silent() -> None:
    with serving(always(b"", status=500)) as server:
        score(at(server, retries=0, concurrency=1), [http(str(n)) for n in range(20)])
    assert len(server.asked) == 20
