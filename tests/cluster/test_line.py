"""The direct line to a reward actor: it answers as Ray would, and says None wherever Ray has to be asked."""

import asyncio
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.actors.fleet import line as lines
from cluster.actors.fleet.line import Line, listen
from cluster.actors.fleet.questions import Questions
from reward.asked import Asked
from rollout.transcript.episode import Answer
from rollout.types import Outcome, Verdict
from tests.toys.run import run_config

PATIENT_S = 5.0
RESPONSE = Asked(checker="exact", response="4", reference=4, tokens=1)


class Actor:
    """A reward actor in this process; a question that is `gate` waits until it opens, and "raise" raises."""

    def __init__(self, where: str | None = None) -> None:
        self.where, self.asked, self.listened = where, list[Any](), 0
        self.gate, self.ends = asyncio.Event(), list[asyncio.Task[Any]]()

    async def listening(self) -> str:
        self.listened += 1
        return await listen(self.answer) if self.where is None else self.where

    async def answer(self, method: str, questions: Sequence[Any]) -> list[Any]:
        self.asked.append((method, list(questions)))
        if "raise" in questions:
            raise ValueError("the pool is closed")
        if "gate" in questions:
            await self.gate.wait()
        return [(method, question) for question in questions]


def play(script: Callable[[Actor, Line], Awaitable[None]], where: str | None = None) -> Actor:
    async def main() -> Actor:
        actor = Actor(where)
        line = Line(actor.listening)
        async with asyncio.timeout(PATIENT_S):
            await script(actor, line)
            await line.close()
        return actor

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lines.tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "questions",
    [[], ["one"], ["one", 2, None, {"three": [1.5]}], ["é\ud800 \x00"], ["x" * 3_000_000], [RESPONSE]],
    ids=["none", "one", "kinds", "odd text", "long", "a response"],
)
def test_answers_come_back_in_their_order_and_as_they_are(questions: list[Any]) -> None:
    async def script(_: Actor, line: Line) -> None:
        assert await line.ask("score", questions) == [("score", question) for question in questions]
        assert await line.ask("reply", questions) == [("reply", question) for question in questions]

    assert play(script).listened == 1


def test_verdicts_and_answers_are_the_same_after_the_way() -> None:
    failed = Verdict.failed(Outcome.TIMED_OUT, "timeout: 2 s")
    said = [Verdict(reward=0.5, parts={"correct": 0.5}), failed, Answer(words="higher"), Answer(failure=failed)]

    async def script(actor: Actor, line: Line) -> None:
        async def answer(method: str, questions: Sequence[Any]) -> list[Any]:
            return said

        actor.answer = answer  # type: ignore[method-assign]
        assert await line.ask("score", [1]) == said

    play(script)


def test_a_slow_answer_keeps_nobody_waiting() -> None:
    async def script(actor: Actor, line: Line) -> None:
        slow = asyncio.ensure_future(line.ask("reply", ["gate"]))
        assert await line.ask("reply", ["quick"]) == [("reply", "quick")]
        assert not slow.done()
        actor.gate.set()
        assert await slow == [("reply", "gate")]

    play(script)


def test_an_exception_is_left_to_ray_and_the_line_goes_on() -> None:
    async def script(_: Actor, line: Line) -> None:
        assert await line.ask("score", ["raise"]) is None
        assert await line.ask("score", ["fine"]) == [("score", "fine")]

    assert play(script).listened == 1


def test_whoever_stops_asking_disturbs_nobody() -> None:
    async def script(actor: Actor, line: Line) -> None:
        gone = asyncio.ensure_future(line.ask("reply", ["gate"]))
        assert await line.ask("reply", ["one"])
        gone.cancel()
        await asyncio.wait([gone])
        actor.gate.set()
        assert await line.ask("reply", ["two"]) == [("reply", "two")]

    play(script)


def test_a_dead_actor_is_asked_through_ray_and_over_a_new_line_once_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    writers = []
    serve = lines.serve

    async def noting(reader: Any, writer: asyncio.StreamWriter, answer: Any) -> None:
        writers.append(writer)
        await serve(reader, writer, answer)

    monkeypatch.setattr(lines, "serve", noting)

    async def script(_: Actor, line: Line) -> None:
        waiting = asyncio.ensure_future(line.ask("reply", ["gate"]))
        assert await line.ask("reply", ["one"])
        writers[0].transport.abort()
        assert await waiting is None
        assert await line.ask("reply", ["two"]) == [("reply", "two")]

    assert play(script).listened == 2


def test_an_actor_on_another_node_is_asked_through_ray_for_good() -> None:
    async def script(_: Actor, line: Line) -> None:
        assert await asyncio.gather(*(line.ask("reply", [number]) for number in range(3))) == [None] * 3
        assert await line.ask("score", [1]) is None

    assert play(script, where="/nowhere/line").listened == 1


def test_a_node_without_a_place_for_the_socket_is_asked_through_ray(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = folder / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(lines.tempfile, "tempdir", str(deep))

    async def script(_: Actor, line: Line) -> None:
        assert await line.ask("reply", [1]) is None

    play(script)
    assert not list(deep.iterdir())


def test_what_listening_raises_reaches_everybody_who_asks() -> None:
    async def main() -> None:
        async def listening() -> str:
            raise RuntimeError("the actor died")

        line = Line(listening)
        for ended in await asyncio.gather(*(line.ask("reply", [number]) for number in range(3)), return_exceptions=True):
            assert isinstance(ended, RuntimeError)

    asyncio.run(main())


def test_only_this_user_can_come_and_nothing_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "COMES_S", 0.01)

    async def main() -> None:
        path = Path(await listen(Actor().answer))
        assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IRWXU
        while list(folder.iterdir()):
            await asyncio.sleep(0.005)

    asyncio.run(main())

    async def script(_: Actor, line: Line) -> None:
        assert await line.ask("reply", [1])
        assert not list(folder.iterdir()), "the folder goes as soon as the engine has come"

    play(script)


def test_questions_take_the_line_but_for_what_is_held() -> None:
    async def script(actor: Actor, line: Line) -> None:
        through_ray: list[Any] = []

        def method(name: str) -> SimpleNamespace:
            async def call(asked: Sequence[Asked]) -> list[Any]:
                through_ray.append((name, [one.response for one in asked]))
                return [Answer(words="ray") if name == "reply" else Verdict(reward=0.0) for _ in asked]

            return SimpleNamespace(remote=call)

        async def answer(name: str, questions: Sequence[Any]) -> list[Any]:
            if questions[0].response == "raise":
                raise ValueError
            return [Answer(words="line") if name == "reply" else Verdict(reward=1.0) for _ in questions]

        actor.answer = answer  # type: ignore[method-assign]
        questions = Questions(run_config(Path("run")), SimpleNamespace(reply=method("reply"), score=method("score")), line)
        asked = {name: Asked(checker="c", response=name, reference=1, tokens=1) for name in ("pure", "held", "raise")}
        assert (await questions.reply(asked["pure"])).words == "line"
        assert (await questions.score(asked["pure"])).reward == 1.0
        assert not through_ray
        assert (await questions.reply(asked["held"], alone=True)).words == "ray"
        assert (await questions.score(asked["held"], held=True)).reward == 0.0
        assert (await questions.reply(asked["raise"])).words == "ray"
        assert through_ray == [("reply", ["held"]), ("score", ["held"]), ("reply", ["raise"])]

    play(script)
