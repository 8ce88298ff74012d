import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.actors.engine_actor import EngineActor, GroupAborted
from cluster.actors.fleet.group_work import GroupWork
from cluster.actors.fleet.questions import Questions
from reward.asked import Asked, Wants
from rollout.engine.pulse import GroupAtWork, describe_groups
from rollout.seeds import seed_of_group
from rollout.transcript.episode import Answer, Reply, Turn
from rollout.turns import Bounds, Play
from rollout.types import Finish, Group, Outcome, Prompt, Response, Verdict
from tests.rollout.test_turns import EOS, Letters, ToyEngine
from tests.toys.in_process import InProcess
from tests.toys.run import run_config

PROMPT = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="1", checker="world")
SIZE = 4
TALKING = Wants(by_checker={"world": ("yields",)})
BROKEN = Verdict.failed(Outcome.UNSCORABLE, "it raised")


class ToyReward:
    """Answers each turn after a while, ends after two, and pays for the turns that it was asked about."""

    def __init__(self, answer: Callable[[Asked], Answer] = lambda asked: Answer(words="A") if len(asked.turns) < 3 else Answer()) -> None:
        self.answer = answer
        self.calls: list[list[Asked]] = []
        self.scored: list[Asked] = []
        self.left: list[str] = []
        self.goes = asyncio.Event()
        self.goes.set()

    async def reply(self, asked: Sequence[Asked]) -> list[Answer]:
        self.calls.append(list(asked))
        await self.goes.wait()
        return [self.answer(one) for one in asked]

    async def score(self, asked: Sequence[Asked]) -> list[Verdict]:
        self.scored += asked
        return [Verdict(reward=float(len(one.turns))) for one in asked]

    async def leave(self, episodes: Sequence[str]) -> None:
        self.left += episodes


class Speaking:
    """An engine whose every response has the same three turns."""

    def __init__(self) -> None:
        self.dies_in = -1  # this turn

    async def respond_group(
        self, group_id: int, prompt: Prompt, seed: int, size: int, temperature: float | None, reply_to: Callable[[int], Reply | None]
    ) -> AsyncIterator[tuple[int, Response]]:
        async def one(member: int) -> tuple[int, Response]:
            engine = ToyEngine([2, EOS], [3, EOS], [4, EOS], [5, EOS])
            if (reply := reply_to(member)) is None:
                return member, await engine(SimpleNamespace(context=[1], turn=0, limit=9, known=0))  # type: ignore[arg-type]

            async def sample(ask: Any) -> Response:
                if ask.turn == self.dies_in:
                    raise RuntimeError("the engine died")
                return await engine(ask)

            return member, await Play(
                prompt.token_ids.tolist(), sample, reply, Letters(), Bounds(turns=8, reply=8, response=40, context=41)
            ).respond()

        asked = [asyncio.ensure_future(one(member)) for member in range(size)]
        try:
            for done in asyncio.as_completed(asked):
                yield await done
        finally:
            for request in asked:
                request.cancel()


def group_work(reward: ToyReward, wants: Wants = TALKING, *, evaluated: bool = False) -> GroupWork:
    questions = Questions(run_config(Path("run")), InProcess(reward))
    return GroupWork(questions, GroupAtWork(7, evaluated), PROMPT, wants, size=SIZE, engine="engine-3/")


def run(reward: ToyReward, wants: Wants = TALKING) -> Group:
    return asyncio.run(group_work(reward, wants).run(Speaking(), None))[0]


def test_questions_of_one_tick_share_a_call_and_carry_the_episode():
    reward = ToyReward()
    group = run(reward)
    assert [[len(one.turns) for one in call] for call in reward.calls] == [[turn] * SIZE for turn in (1, 2, 3)]
    first, second = reward.calls[0][0], reward.calls[1][0]
    assert (first.response, first.turns, first.over) == ("20", (Turn(said="20"),), False)
    assert second.turns[0].answer.words == "A"
    assert (second.episode, second.group_seed) == (first.episode, seed_of_group(0, 7))
    assert len({one.episode for one in reward.calls[0]}) == SIZE
    assert all(one.episode.startswith("engine-3/7.") for one in reward.calls[0])
    assert [verdict.reward for verdict in group.verdicts] == [3.0] * SIZE
    assert all(response.environment_s > 0 for response in group.responses)
    assert [(one.response, len(one.turns), one.over, one.tokens) for one in reward.scored] == [("40", 3, False, 6)] * SIZE
    assert reward.left == [], "scoring ends an episode"


def test_two_attempts_at_a_group_are_different_episodes_of_the_same_world():
    reward = ToyReward()
    for _ in range(2):
        run(reward)
    assert len({one.episode for call in reward.calls for one in call}) == 2 * SIZE
    assert len({one.group_seed for call in reward.calls for one in call}) == 1
    evaluated = group_work(reward, evaluated=True)
    assert evaluated.asked(0, "").group_seed == seed_of_group(0, 7, evaluated=True) != seed_of_group(0, 7)


def test_prompts_without_an_environment_are_answered_by_nobody():
    reward = ToyReward()
    group = run(reward, Wants())
    assert reward.calls == []
    assert all(response.transcript == () for response in group.responses)
    assert [(one.response, one.turns, one.over) for one in reward.scored] == [("20", (), False)] * SIZE


def test_a_broken_episode_has_its_failure_as_verdict_and_is_left_and_not_scored():
    def answer(asked: Asked) -> Answer:
        return Answer(failure=BROKEN) if asked.index == 2 else Answer(words="A") if len(asked.turns) < 2 else Answer()

    reward = ToyReward(answer)
    group = run(reward)
    assert [verdict.reward for verdict in group.verdicts] == [2.0, 2.0, None, 2.0]
    assert group.verdicts[2] == BROKEN
    assert sorted(one.index for one in reward.scored) == [0, 1, 3]
    assert [name.split(".")[1] for name in reward.left] == ["2"]


def test_an_episode_out_of_room_is_scored_as_over():
    reward = ToyReward(lambda asked: Answer(words="A" * 8))
    group = run(reward)
    assert {response.finish for response in group.responses} == {Finish.LENGTH}
    assert [(one.over, one.truncated) for one in reward.scored] == [(True, True)] * SIZE


def test_what_the_reward_actor_raises_is_the_error_of_the_group():
    def answer(asked: Asked) -> Answer:
        raise KeyError("a bug of ours")

    reward = ToyReward(answer)
    with pytest.raises(KeyError, match="a bug of ours"):
        run(reward)


def test_episodes_of_an_engine_that_dies_in_a_later_turn_are_left():
    async def work() -> Counter[str]:
        reward, engine = ToyReward(), Speaking()
        engine.dies_in = 2
        with pytest.raises(RuntimeError, match="the engine died"):
            await group_work(reward).run(engine, None)
        await asyncio.sleep(0)
        return Counter(reward.left)

    left = asyncio.run(work())
    assert len(left) == SIZE
    assert set(left.values()) == {1}


def test_a_group_aborted_while_its_environments_think_is_left_at_once():
    async def work() -> None:
        reward = ToyReward()
        reward.goes.clear()
        actor = object.__new__(EngineActor)
        actor.config, actor.index, actor._groups = run_config(Path("run")), 3, []
        actor.questions, actor.engine = Questions(actor.config, InProcess(reward)), Speaking()
        actor.questions._wants = TALKING
        asked = asyncio.ensure_future(actor.respond(7, PROMPT, SIZE, None, 0, True))
        while not reward.calls:
            await asyncio.sleep(0)
        told = describe_groups(actor._groups)
        assert (told["generating"], told["answering"], told["scoring"]) == (0, 1, 0), "the engine has nothing to do for it"
        await actor.abort(7, False)
        with pytest.raises(GroupAborted):
            await asked
        await asyncio.sleep(0)
        assert len(set(reward.left)) == SIZE
        reward.goes.set()
        await asyncio.sleep(0.01)
        assert reward.scored == []

    asyncio.run(work())


def test_the_time_in_which_all_episodes_of_a_group_wait_is_known():
    async def work() -> tuple[float, float]:
        reward = ToyReward()
        work = group_work(reward)
        reward.goes.clear()
        asyncio.get_running_loop().call_later(0.05, reward.goes.set)
        _, scoring_s = await work.run(Speaking(), None)
        return work.mine.answering_s, scoring_s

    answering_s, scoring_s = asyncio.run(work())
    assert 0.04 < answering_s < 1.0
    assert scoring_s < 0.5


@pytest.mark.parametrize("wants", [Wants(tools=True), Wants(by_checker={"world": ("yields", "held")})], ids=["tools", "held"])
def test_no_answer_waits_for_one_that_may_be_slow(wants: Wants):
    reward = ToyReward()
    run(reward, wants)
    assert {len(call) for call in reward.calls} == {1}


def test_after_a_slow_answer_questions_go_alone_until_one_is_quick(monkeypatch: pytest.MonkeyPatch):
    reward = ToyReward()
    monkeypatch.setattr("cluster.actors.fleet.questions.SLOW_S", -1.0)
    run(reward)
    assert [len(call) for call in reward.calls] == [SIZE] + [1] * (2 * SIZE)


def test_a_call_has_a_bounded_number_of_questions(monkeypatch: pytest.MonkeyPatch):
    reward = ToyReward()
    monkeypatch.setattr("cluster.actors.fleet.questions.TOGETHER", 3)
    run(reward)
    assert [len(call) for call in reward.calls] == [3, 1] * 3
