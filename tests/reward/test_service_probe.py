"""What is told of services before a run asks them anything."""

import pytest

from reward.services.services import probe_services
from tests.toys.services import (
    OK,
    Answer,
    always,
    at,
    config,
    direct,  # noqa: F401
    http,
    judge,
    nobody,
    score,
    serving,
    unscorable,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("direct")]


def test_a_service_without_address_or_model_fails_alone_and_is_told_by_the_probe() -> None:
    with serving(always(OK)) as server:
        partly = config(http={"url": server.url}, judge={"url": server.url})
        verdicts = score(partly, [judge(), http()])
    unscorable(verdicts[0], "judge.model is not set")
    assert verdicts[1].reward == 1.0
    with pytest.raises(ValueError, match=r"http: http\.url is not set.*\njudge: judge\.url is not set"):
        probe_services(config(), {"judge", "http"})
    assert probe_services(config(), {"math"}) == []


MODELS = {"data": [{"id": "grader"}, {"id": "other"}]}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(MODELS), "answers and has grader"),
        (Answer({"data": []}), "answers; it lists no models"),
        (Answer(b"hello"), "answers; it lists no models"),
        (Answer(b"", 404), "so judge.model was not checked"),
        (Answer(b"", 429), "so judge.model was not checked"),
    ],
)
def test_a_judge_that_answers_is_reported_as_there(answer: Answer, said: str) -> None:
    with serving(always(answer.body, status=answer.status)) as server:
        (line,) = probe_services(at(server), {"judge", "math"})
    assert line.startswith(f"judge at {server.url} answers")
    assert said in line
    assert [(asked.method, asked.path) for asked in server.asked] == [("GET", "/models")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer({"data": [{"id": "a"}, {"id": "b"}]}), "has no model 'grader': set judge.model to one of a, b"),
        (Answer(b"who are you", 401), "HTTP 401: who are you; the key was refused: export the right one"),
        (Answer(b"", 403), "HTTP 403: ; the key was refused"),
        (Answer(b"", 301), "redirects to nowhere, which is not followed: set judge.url"),
        (Answer(b"down", 502), "HTTP 502: down: start the service, or correct judge.url"),
    ],
)
def test_a_judge_that_could_not_grade_is_an_error_that_says_what_to_do(answer: Answer, said: str) -> None:
    with serving(always(answer.body, status=answer.status)) as server, pytest.raises(ValueError, match="judge: ") as refused:
        probe_services(at(server), {"judge"})
    assert said in str(refused.value)


@pytest.mark.parametrize("status", [200, 401, 404, 501, 302])
def test_an_http_checker_is_there_whatever_it_answers(status: int) -> None:
    with serving(always(b"", status=status)) as server:
        (line,) = probe_services(at(server), {"http"})
    assert line.startswith(f"http at {server.url} answers")
    assert server.asked[0].method == "HEAD"


def test_services_that_nobody_runs_are_an_error_that_names_their_addresses() -> None:
    with nobody() as url, pytest.raises(ValueError, match="asking") as refused:
        probe_services(at(url), {"http", "judge"})
    said = str(refused.value).splitlines()
    for line, name in zip(said, ("http", "judge"), strict=True):
        assert line.startswith(f"{name}: asking {url} failed: ConnectError")
        assert line.endswith(f": start the service, or correct {name}.url")
