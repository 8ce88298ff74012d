"""The key of a service reaches the service and no text."""

import json

import pytest

from reward.services.endpoint import SHOWN_CHARS
from reward.services.secret import Secret
from reward.services.services import probe_services
from tests.toys.services import (
    OK,
    Answer,
    Asked,
    always,
    at,
    direct,  # noqa: F401
    graded,
    http,
    judge,
    score,
    serving,
    unscorable,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("direct")]
KEY = "sk-verysecret/7+a"


def test_a_redirect_is_not_followed_so_the_key_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    with serving(always(OK)) as elsewhere, serving(always(b"", status=307, headers={"Location": elsewhere.url})) as server:
        (verdict,) = score(at(server, key_env="TOY_KEY"), [http()])
        unscorable(verdict, f"HTTP 307: redirects to {elsewhere.url}, which is not followed: set http.url")
    assert (len(server.asked), len(elsewhere.asked)) == (1, 0)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 429, 500])
def test_the_key_is_sent_and_is_in_no_failure_though_the_server_repeats_it(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", f" {KEY}\n")

    def echo(asked: Asked, _: int) -> Answer:
        said = {"you": asked.headers["Authorization"], "padding": "x" * 250, "tail": KEY}
        return Answer(graded(json.dumps(said)) if status == 200 else said, status, {"Location": f"/login?key={KEY}"})

    with serving(echo) as server:
        asking = at(server, key_env="TOY_KEY")
        verdicts = score(asking, [http(), judge()])
        try:
            probed = " ".join(probe_services(asking, {"judge"}))
        except ValueError as error:
            probed = str(error)
    assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    for text in (*(unscorable(v, "[key]") for v in verdicts), probed):
        assert KEY not in text
        assert "verysecret" not in text
    assert "verysecret" not in repr(asking.model_dump())


def test_a_key_that_stands_where_a_text_is_cut_leaves_no_piece_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    long = "x" * 2 * SHOWN_CHARS

    def echo(asked: Asked, _: int) -> Answer:
        place = int(
            asked.json["response"] if "response" in asked.json else asked.json["messages"][0]["content"].split(">>>\n")[1].split()[0]
        )
        if "response" in asked.json:
            return Answer((long[:place] + KEY + long).encode(), 400)
        return Answer(graded(long + KEY + long[:place]))

    with serving(echo) as server:
        places = [str(SHOWN_CHARS - n) for n in range(-1, len(KEY) + 2)]
        verdicts = score(at(server, key_env="TOY_KEY"), [ask(place) for place in places for ask in (http, judge)])
    pieces = {KEY[n : n + 3] for n in range(len(KEY) - 2)}
    assert [v.failure for v in verdicts if any(piece in unscorable(v) for piece in pieces)] == []


def test_a_secret_is_blotted_out_in_every_form_and_shown_in_none() -> None:
    secret = Secret(KEY)
    assert secret.blot(rf"a {KEY} b {json.dumps(KEY)} c sk-verysecret\/7+a d sk-verysecret%2F7%2Ba") == 'a [key] b "[key]" c [key] d [key]'
    assert "verysecret" not in repr(secret)
    assert Secret(None).headers == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "TOY_KEY, which is not set here"), (" ", "not set"), ("a\nsecret", "(not shown)"), ('a"secret', "(not shown)")],
)
def test_a_key_that_cannot_be_used_is_told_before_anything_is_asked(value: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("TOY_KEY", raising=False)
    else:
        monkeypatch.setenv("TOY_KEY", value)
    with serving(always(OK)) as server:
        asking = at(server, key_env="TOY_KEY")
        (verdict,) = score(asking, [judge()])
        with pytest.raises(ValueError, match=r"judge\.key_env") as refused:
            probe_services(asking, {"judge", "math"})
    assert server.asked == []
    assert said in unscorable(verdict)
    assert said in str(refused.value)
    assert "secret" not in f"{refused.value} {verdict.failure}"
