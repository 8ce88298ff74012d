"""Questions about held environments, for tests."""

from typing import Any

from configs.schema import Config
from reward.asked import Asked
from rollout.transcript.episode import Answer, Turn
from rollout.types import Outcome

TOYS = "tests.toys.held_worlds"


def asked(checker: str, *said: str, reference: Any = 1, episode: str = "engine-0.0/1", over: bool = False) -> Asked:
    turns = tuple(Turn(said=text) for text in said)
    return Asked(
        checker=f"{TOYS}:{checker}", response=said[-1], reference=reference, tokens=1, turns=turns, episode=episode, group_seed=7, over=over
    )


def config(**keys: Any) -> Config:
    reward = {"memory_mb": 1024, "timeout_s": 10.0, **keys}
    return Config.model_validate({"model": {"path": "m"}, "data": {"train": "t.jsonl"}, "reward": reward})


def failure_of(answer: Answer) -> tuple[Outcome, str]:
    assert answer.failure is not None, answer
    assert answer.failure.failure is not None
    return answer.failure.outcome, answer.failure.failure
