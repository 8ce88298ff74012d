"""The scorer with what is held for an episode: environments that the config holds, interpreters, and both behind one gate."""

import asyncio
import json
from typing import Any

import pytest

from configs.schema import Config
from reward.asked import Asked
from reward.own.name import OwnCodeError
from reward.scorer import Scorer
from rollout.transcript.episode import Answer, Turn

pytestmark = pytest.mark.timeout(120)
GUESS = "tests.toys.environments:guess"


def config(tools: list[str], **reward: Any) -> Config:
    tables = {"workers": 1, "checker": GUESS, "memory_mb": 1024, "timeout_s": 5.0, "held": True, "held_episodes": 1, **reward}
    return Config.model_validate(
        {"model": {"path": "m"}, "data": {"train": "t.jsonl", "chat_template": True}, "reward": tables, "tools": {"use": tools}}
    )


def call(code: str) -> str:
    return f"<tool_call>\n{json.dumps({'name': 'python_session', 'arguments': {'code': code}})}\n</tool_call>"


async def play(scorer: Scorer, episode: str, said: list[str]) -> tuple[list[str | None], float | None]:
    """What was answered to each turn, and the reward."""
    turns: tuple[Turn, ...] = ()

    def asked() -> Asked:
        return Asked(checker=GUESS, response=turns[-1].said, reference=7, tokens=1, turns=turns, episode=episode)

    answers: list[str | None] = []
    for text in said:
        turns = (*turns, Turn(said=text))
        (answer,) = await scorer.reply([asked()])
        assert answer.failure is None, answer
        turns = (*turns[:-1], Turn(said=text, answer=answer if not answer.ends else Answer()))
        answers.append(answer.words)
        await asyncio.sleep(0)
    (verdict,) = await scorer.score([asked()])
    return answers, verdict.reward


@pytest.mark.end_to_end
def test_episodes_with_a_world_and_an_interpreter_share_one_place_without_waiting_for_ever() -> None:
    async def main() -> None:
        async with Scorer(config(["python_session"])) as scorer:
            assert scorer.wants.slow(GUESS), "what may wait for a place is asked alone"
            tool_first = [call("x = 3"), "3", call("x + 4"), "7"]
            world_first = ["9", call("y = 5"), call("y"), "7"]
            played = await asyncio.wait_for(
                asyncio.gather(*(play(scorer, f"engine-0.0/{n}", (tool_first, world_first)[n % 2]) for n in range(4))), 60
            )
            for number, (answers, reward) in enumerate(played):
                shown = [(words or "the end").replace("<tool_response>\n", "").replace("\n</tool_response>", "") for words in answers]
                assert (
                    shown
                    == [["(no output)", "higher, 5 left", "7", "the end"], ["lower, 5 left", "(no output)", "5", "the end"]][number % 2]
                )
                assert reward == 1.0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("tools", "reward", "what"),
    [
        ([], {}, f"{GUESS!r} is a held environment"),
        (["python_session"], {"held": False}, "python_session is in tools.use"),
    ],
)
def test_a_part_that_asks_for_the_group_is_refused_beside_what_is_held(tools: list[str], reward: dict[str, Any], what: str) -> None:
    part = "tests.toys.held_worlds:of_group"

    async def main() -> None:
        async with Scorer(config(tools, parts={"spread": {"checker": part}}, **reward)):
            pass

    with pytest.raises(OwnCodeError, match=r"asks for `group`") as refused:
        asyncio.run(main())
    assert what in str(refused.value)
