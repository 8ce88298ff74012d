"""A held environment in a real process: what it says, who waits, and what becomes of an episode whose world is lost."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from reward.held.held import Held
from rollout.types import Outcome
from tests.reward.test_reward_process import living
from tests.toys.held import TOYS, asked, config, failure_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    made = Held(config(held_episodes=2), [f"{TOYS}:echo"])
    yield made
    made.close()


def test_a_world_answers_every_turn_and_is_scored(held: Held) -> None:
    async def main() -> None:
        assert (await held.reply(asked("echo", "a"))).words == "1 a"
        assert (await held.reply(asked("echo", "a", "b"))).words == "2 b"
        again, same = await asyncio.gather(held.reply(asked("echo", "a", "b", "c")), held.reply(asked("echo", "a", "b", "c")))
        assert again.words == same.words == "3 c", "a repeated question is no step"
        assert (await held.reply(asked("echo", "a", "b", "c", "end"))).ends
        for _ in range(2):
            verdict = await held.score(asked("echo", "a", "b", "c", "end", reference=0.5))
            assert (verdict.reward, verdict.parts, verdict.turn_rewards) == (1.0, {"correct": 1.0}, ())

        name = {"reference": 0.25, "episode": "engine-0.0/2"}
        assert (await held.reply(asked("count", "a", **name))).words == "A"
        assert (await held.reply(asked("count", "a", "b", **name))).words == "B"
        verdict = await held.score(asked("count", "a", "b", "c", over=True, **name))
        assert verdict.turn_rewards == pytest.approx((0.1, 0.1, 0.35)), "the last turn has its own reward and what the world returned"
        assert verdict.reward == pytest.approx(0.55)

        name["episode"] = "engine-0.0/3"
        answer = await held.reply(asked("count", "rewrite", **name))
        assert answer.rewritten == ({"role": "user", "content": "go on"},)
        assert (await held.reply(asked("count", "rewrite", "x", **name))).ends
        assert (await held.score(asked("count", "rewrite", "x", **name))).turn_rewards == (0.3, 1.0)

        one_turn = await held.score(asked("echo", "a", episode="engine-0.0/4", over=True))
        assert one_turn.reward == 0.0, "NoMoreTurns was not caught"
        with pytest.raises(ValueError, match="needs the name of its episode"):
            await held.reply(asked("echo", "a", episode=""))

    asyncio.run(main())


def test_a_world_that_is_killed_between_two_turns_fails_the_next_question(held: Held) -> None:
    async def main() -> None:
        named: dict[str, Any] = {"reference": {"how": "", "turn": 0}, "episode": "engine-0.0/killed"}
        pid = int((await held.reply(asked("misbehave", "go", **named))).words or "")
        os.kill(pid, signal.SIGKILL)
        assert living([pid]) == []
        outcome, failure = failure_of(await held.reply(asked("misbehave", "go", "go", **named)))
        # It may be noticed before the next question or after.
        turn = failure.removeprefix("crash: the world was killed by SIGKILL [in turn ").removesuffix(" of a held world]")
        assert (outcome, turn in ("1", "2")) == (Outcome.CRASHED, True), failure

    asyncio.run(main())


def test_further_episodes_wait_and_an_engine_that_is_gone_frees_its_places(held: Held) -> None:
    async def main() -> None:
        async def episode(number: int) -> None:
            name = f"engine-3.0/{number}"
            assert (await held.reply(asked("echo", "a", episode=name))).words == "1 a"
            assert held.worlds <= 2
            assert (await held.reply(asked("echo", "a", "end", episode=name))).ends

        await asyncio.gather(*(episode(number) for number in range(6)))
        await asyncio.gather(*(held.reply(asked("echo", "a", episode=f"engine-1.0/{number}")) for number in range(2)))
        waiting = asyncio.ensure_future(episode(9))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        held.leave("engine-1.0/")
        await waiting

    asyncio.run(main())


@pytest.mark.end_to_end
def test_when_the_template_dies_its_episodes_fail_and_the_next_ones_find_a_new_one(held: Held) -> None:
    async def main() -> None:
        assert (await held.reply(asked("echo", "a", episode="engine-2.0/1"))).words == "1 a"
        template = held._keeper.nursery._template
        assert template is not None
        template.process.kill()
        while held.worlds:
            await asyncio.sleep(0.01)
        outcome, failure = failure_of(await held.reply(asked("echo", "a", "b", episode="engine-2.0/1")))
        assert outcome is Outcome.CRASHED
        assert "the process that starts held worlds was killed by SIGKILL" in failure
        assert (await held.reply(asked("echo", "a", episode="engine-2.0/2"))).words == "1 a"

    asyncio.run(main())
