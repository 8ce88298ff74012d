"""Who answers a turn, what an environment sees of it, and how the rewards inside an episode become those of its turns."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.actors.reward_actor import RewardActor
from configs.schema import Config
from reward.asked import Asked, Wants
from reward.dispatch import Episodes
from reward.own.name import OwnCodeError
from reward.scorer import Scorer
from rollout.transcript.episode import Answer, Turn
from rollout.types import Outcome, Verdict

pytestmark = pytest.mark.timeout(60)

TOYS = "tests.toys.environments"


def config(**reward: Any) -> Config:
    tables = {"workers": 1, "checker": f"{TOYS}:guess", "memory_mb": 1024, "timeout_s": 2.0, **reward}
    return Config.model_validate({"model": {"path": "m"}, "data": {"train": "t.jsonl"}, "reward": tables})


def turn(said: str, words: str | None = None, **answer: Any) -> Turn:
    return Turn(said=said, answer=Answer(words=words, **answer))


def asked(name: str, *turns: Turn, reference: Any = None, **more: Any) -> Asked:
    checker = name if ":" not in name and name in ("exact", "length") else f"{TOYS}:{name}"
    return Asked(checker=checker, response=turns[-1].said, reference=reference, tokens=3, turns=turns, row="rows line 7", **more)


class ToyTools:
    """Answers turns that begin with "call"."""

    def __init__(self) -> None:
        self.left: list[str] = []

    async def answer(self, asked: Asked) -> Answer | None:
        return Answer(words="result", role="tool", tool_calls=1) if asked.response.startswith("call") else None

    def leave(self, episode: str) -> None:
        self.left.append(episode)


class ToyHeld(ToyTools):
    """Repeats what it sees."""

    async def ready(self) -> None:
        """It always is."""

    def close(self) -> None:
        """It has nothing to end."""

    async def reply(self, asked: Asked) -> Answer:
        return Answer(words=" ".join(turn.said for turn in asked.turns))

    async def score(self, asked: Asked) -> Verdict:
        return Verdict(reward=0.5, parts={"correct": 0.5}, turn_rewards=(0.25, 0.25))


def play(config: Config, replies: Sequence[Asked], scores: Sequence[Asked] = (), **homes: Any) -> tuple[list[Answer], list[Verdict]]:
    async def main() -> tuple[list[Answer], list[Verdict]]:
        named = {one.checker for one in (*replies, *scores) if ":" in one.checker}  # a held one costs a process
        async with Scorer(config, named_by_rows=sorted(named)) as scorer:
            if homes:
                await scorer.episodes.close()
                scorer.episodes = Episodes(config, scorer.pool, hold=lambda _: homes["held"], tools=homes["tools"])
            return await scorer.reply(replies), await scorer.score(scores)

    return asyncio.run(main())


def test_turns_are_answered_by_tools_then_by_the_environment_and_end_otherwise() -> None:
    first = turn("3", "higher, 5 left")
    call = turn("call 1", "result", tool_calls=1)
    replies = [
        asked("guess", turn("3"), reference=7),
        asked("guess", first, call, turn("9"), reference=7),
        asked("guess", turn("call 2"), reference=7),
        asked("guess", turn("7"), reference=7),
        asked("exact", turn("call 3"), reference="4"),
        asked("exact", call, turn("4"), reference="4"),
        asked("stays", turn("a"), call, turn("b")),
        asked("guess", turn("three"), reference=7),
    ]
    scores = [
        asked("guess", first, call, turn("9", "lower, 4 left"), turn("7"), reference=7),
        asked("exact", call, turn("4"), reference="4"),
        asked("rewards", turn("a", "one"), call, turn("b", "two"), turn("c"), over=True),
        asked("stays", turn("a", "a"), call, turn("b")),
    ]
    answers, verdicts = play(config(), replies, scores, tools=ToyTools(), held=ToyHeld())
    said = [(answer.words, answer.tool_calls, answer.ends) for answer in answers[:7]]
    assert said == [
        ("higher, 5 left", 0, False),
        ("lower, 4 left", 0, False),
        ("result", 1, False),
        (None, 0, True),
        ("result", 1, False),
        (None, 0, True),
        ("a b", 0, False),
    ]
    failure = answers[7].failure
    assert failure is not None
    assert failure.outcome is Outcome.UNSCORABLE
    assert str(failure.failure).startswith("error: ValueError: invalid literal for int() with base 10: 'three' (")
    assert str(failure.failure).endswith("in guess) [rows line 7; response 'three']")
    assert [verdict.reward for verdict in verdicts] == [1.0, 1.0, -0.25, 0.5]
    assert [verdict.turn_rewards for verdict in verdicts] == [(), (), (0.25, 0.0, -0.5, 0.0), (0.25, 0.0, 0.25)]


def test_an_environment_sees_turns_as_checkers_see_them() -> None:
    marks = {"prompt": "Q<think>", "reference": "end"}
    replies = [
        asked("thinks", turn("hm</think>a"), **marks),
        asked("thinks", turn("hm</think>a", "seen 'a'"), turn("so</think>end"), **marks),
        asked("thinks", turn("never ends"), **marks),
        asked("thinks", turn("a<think>b"), prompt="Q: x=", prefill="x=", reference="end"),
    ]
    scores = [
        asked("thinks", turn("hm</think>a", "seen 'a'"), turn("so</think>end"), **marks),
        asked("thinks", turn("hm</think>a", "seen 'a'"), turn("never ends"), **marks),
        asked("thinks", turn("a", "seen 'x=a'"), turn("end"), prompt="Q: x=", prefill="x=", reference="x=end"),
    ]
    answers, verdicts = play(config(), replies, scores)
    assert [answer.words for answer in answers] == ["seen 'a'", None, "seen ''", "seen ''"]
    assert [(verdict.reward, verdict.unfinished) for verdict in verdicts] == [(1.0, False), (0.0, True), (1.0, False)]
    whole, _ = play(config(thinking="keep"), replies[:1])
    assert [answer.words for answer in whole] == ["seen 'hm</think>a'"]


def test_shaping_lands_on_the_last_turn_and_parts_see_it_alone() -> None:
    parts = {"brief": {"checker": "length", "weight": 0.5, "reference": {"max": 1, "unit": "words"}}}
    episode = asked("rewards", turn("a b c", "one"), turn("b", "two"), turn("c", "three"), turn("d"))
    _, (verdict,) = play(config(range=[-1.0, 1.0], parts=parts), [], [episode])
    assert verdict.parts == {"correct": 0.75, "brief": 1.0}
    assert verdict.reward == -1.0 + 2.0 * 0.75 + 0.5
    assert verdict.turn_rewards[:3] == (0.5, -1.0, 0.0), "in the unit of the range"
    assert sum(verdict.turn_rewards) == pytest.approx(verdict.reward, abs=1e-12)


def test_a_context_is_rewritten_and_the_seed_is_the_groups() -> None:
    before = asked("seeded", turn("a"), group_seed=7, seed=1)
    again = asked("seeded", turn("a"), group_seed=7, seed=2, index=3)
    rewritten = [{"role": "user", "content": "so far: a"}]
    replies = [before, again, asked("rewrites", turn("a"))]
    scores = [asked("rewrites", turn("a", rewritten=tuple(rewritten)), turn("end"))]
    answers, verdicts = play(config(), replies, scores)
    assert answers[0].words == answers[1].words != None  # noqa: E711
    assert answers[2].rewritten == tuple(rewritten)
    assert not answers[2].ends
    assert (verdicts[0].reward, verdicts[0].turn_rewards) == (1.5, (0.5, 1.0))


def test_an_environment_is_a_row_s_checker_and_nothing_else() -> None:
    for key, tables in (
        ("reward.parts.x", {"parts": {"x": {"checker": f"{TOYS}:rewards"}}}),
        ("reward.second", {"second": f"{TOYS}:rewards"}),
    ):
        with pytest.raises(
            OwnCodeError, match=f"^{key} got '{TOYS}:rewards', which has a `yield` and so is an environment, needed a checker"
        ):
            play(config(**tables), [])


def test_what_is_wanted_says_which_rows_talk() -> None:
    wants = Wants(by_checker={"a:b": ["seed", "yields"], "a:c": ["yields", "held"], "a:d": ["row"]})
    assert [wants.talks(name) for name in ("a:b", "a:c", "a:d", "math")] == [True, True, False, False]
    assert [wants.slow(name) for name in ("a:b", "a:c", "a:d", "math")] == [False, True, False, False]
    assert Wants(tools=True).talks("math")


def test_the_actor_answers_and_keeps_the_transcript_that_killed_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.actors.reward_actor.send_output_to", lambda *_: None)
    made = config().model_copy(update={"run": config().run.model_copy(update={"dir": str(tmp_path)})})

    async def main() -> tuple[list[Answer], Wants]:
        actor = RewardActor(made, 0, (f"{TOYS}:dies",), str(Path.cwd()))
        try:
            await actor.ready()
            answers = await actor.reply([asked("dies", turn("a", "first"), turn("b")), asked("guess", turn("3"), reference=7)])
            await actor.leave(["engine-0/1"])
            return answers, await actor.wants()
        finally:
            await actor.shutdown()

    (dead, good), wants = asyncio.run(main())
    assert dead.failure is not None
    assert dead.failure.outcome is Outcome.CRASHED
    assert good.words == "higher, 5 left"
    assert wants.talks(f"{TOYS}:guess")
    (line,) = (made.run_dir / "quarantine" / "reward-0.jsonl").read_text().splitlines()
    assert json.loads(line)["turns"] == [["a", "first", False], ["b", None, False]]
