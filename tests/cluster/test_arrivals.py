"""Questions that arrive while a call is in flight share the next call, and none of them waits long for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from cluster.actors.fleet import questions
from cluster.actors.fleet.questions import Arrivals
from reward.asked import Asked


def asked(name: str) -> Asked:
    return Asked(checker="math", response=name, reference=1, tokens=0)


class Answering:
    """Answers every call when its gate opens, by the names of the questions; a gate that opens badly fails the call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gates: list[asyncio.Future[None]] = []

    async def __call__(self, several: Sequence[Asked]) -> list[str]:
        self.calls.append([one.response for one in several])
        self.gates.append(asyncio.get_running_loop().create_future())
        await self.gates[-1]
        return [one.response.upper() for one in several]


def play(script: Callable[[Answering, Arrivals[str]], Awaitable[None]], most: int | None = None) -> Answering:
    answering = Answering()

    async def main() -> None:
        await script(answering, Arrivals(answering, most))

    asyncio.run(main())
    return answering


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "WAIT_S", 60.0)


def test_what_arrives_during_a_call_shares_the_next_one() -> None:
    async def script(answering: Answering, arrivals: Arrivals[str]) -> None:
        first = [arrivals.put(asked(name)) for name in "ab"]
        await turn()
        later = []
        for name in "cde":
            later.append(arrivals.put(asked(name)))
            await turn()
        answering.gates[0].set_result(None)
        assert await asyncio.gather(*first) == ["A", "B"]
        await turn()
        answering.gates[1].set_result(None)
        assert await asyncio.gather(*later) == ["C", "D", "E"]
        last = arrivals.put(asked("f"))
        await turn()
        answering.gates[2].set_result(None)
        assert await last == "F"

    assert play(script).calls == [["a", "b"], ["c", "d", "e"], ["f"]]


def test_nobody_waits_long_for_a_slow_answer_to_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "WAIT_S", 0.01)

    async def script(answering: Answering, arrivals: Arrivals[str]) -> None:
        slow = arrivals.put(asked("slow"))
        await turn()
        quick = arrivals.put(asked("quick"))
        while len(answering.calls) < 2:
            await asyncio.sleep(0.001)
        answering.gates[1].set_result(None)
        assert await quick == "QUICK"
        assert not slow.done()
        answering.gates[0].set_result(None)
        assert await slow == "SLOW"

    assert play(script).calls == [["slow"], ["quick"]]


def test_what_nobody_waits_for_goes_with_the_next_that_is_urgent() -> None:
    async def script(answering: Answering, arrivals: Arrivals[str]) -> None:
        results = [arrivals.put(asked(name), urgent=False) for name in "ab"]
        await turn()
        assert not answering.calls
        results.append(arrivals.put(asked("c")))
        await turn()
        answering.gates[0].set_result(None)
        assert await asyncio.gather(*results) == ["A", "B", "C"]
        later = arrivals.put(asked("d"), urgent=False)
        await turn()
        assert len(answering.calls) == 1
        arrivals.hurry()
        await turn()
        answering.gates[1].set_result(None)
        assert await later == "D"
        arrivals.hurry()
        await turn()
        assert len(answering.calls) == 2, "nothing waits"

    assert play(script).calls == [["a", "b", "c"], ["d"]]


def test_what_nobody_waits_for_is_held_for_a_while_only_also_beside_a_call_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "HOLD_S", 0.02)
    monkeypatch.setattr(questions, "WAIT_S", 0.001)

    async def script(answering: Answering, arrivals: Arrivals[str]) -> None:
        first = arrivals.put(asked("a"))
        await turn()
        held = arrivals.put(asked("b"), urgent=False)
        answering.gates[0].set_result(None)
        assert await first == "A"
        await turn()
        assert len(answering.calls) == 1, "a call that is back is no reason to hurry"
        while len(answering.calls) < 2:
            await asyncio.sleep(0.001)
        answering.gates[1].set_result(None)
        assert await held == "B"

    assert play(script).calls == [["a"], ["b"]]


def test_a_call_that_fails_fails_its_own_questions_alone() -> None:
    async def script(answering: Answering, arrivals: Arrivals[str]) -> None:
        first = arrivals.put(asked("a"))
        await turn()
        second = arrivals.put(asked("b"))
        answering.gates[0].set_exception(RuntimeError("the actor died"))
        with pytest.raises(RuntimeError, match="the actor died"):
            await first
        await turn()
        answering.gates[1].set_result(None)
        assert await second == "B"

    assert play(script).calls == [["a"], ["b"]]


def test_many_are_divided_and_the_next_wait_for_all_of_them() -> None:
    async def script(answering: Answering, arrivals: Arrivals[str]) -> None:
        first = [arrivals.put(asked(name)) for name in "abcde"]
        await turn()
        later = arrivals.put(asked("f"))
        for gate in answering.gates[:2]:
            gate.set_result(None)
        await turn()
        assert len(answering.calls) == 3
        answering.gates[2].set_result(None)
        assert await asyncio.gather(*first) == list("ABCDE")
        await turn()
        answering.gates[3].set_result(None)
        assert await later == "F"

    assert play(script, most=2).calls == [["a", "b"], ["c", "d"], ["e"], ["f"]]


def test_a_cancelled_question_holds_up_nobody() -> None:
    async def script(answering: Answering, arrivals: Arrivals[str]) -> None:
        first = arrivals.put(asked("a"))
        await turn()
        gone, stays = arrivals.put(asked("b")), arrivals.put(asked("c"))
        gone.cancel()
        first.cancel()
        answering.gates[0].set_result(None)
        await turn()
        answering.gates[1].set_result(None)
        assert await stays == "C"

    assert play(script).calls == [["a"], ["b", "c"]]
