"""Responses made to hang symbolic mathematics: each is wrong at once, and honest neighbours get what is theirs."""

import asyncio
import time
from collections import Counter

import pytest

from reward.workers.pool import Item, RewardPool
from rollout.types import Outcome, Verdict
from tests.toys.hostile_math import HOSTILE, REFERENCE

TIMEOUT_S = 0.5
TURNS = 2  # an item whose worker dies is tried once more
MARGIN_S = 10.0  # on a busy machine
RIGHT = Item(checker="math", response=r"Thus \boxed{\frac{84}{2}}.", reference=REFERENCE)
WRONG = Item(checker="math", response=r"Thus \boxed{\frac{85}{2}}.", reference=REFERENCE)


async def score_among_honest(texts: list[str]) -> tuple[list[tuple[Verdict, float]], list[float | None]]:
    """The verdict of each text with the seconds it took, from two workers at once, and the rewards of the honest ones between them."""
    waiting, hostile, honest = iter(texts), [], []
    async with RewardPool(workers=2, timeout_s=TIMEOUT_S, memory_mb=1024, warm=["math"]) as pool:

        async def caller() -> None:
            for text in waiting:
                honest.extend(verdict.reward for verdict in await pool.score([RIGHT, WRONG]))
                started = time.monotonic()
                (verdict,) = await pool.score([Item(checker="math", response=text, reference=REFERENCE)])
                hostile.append((verdict, time.monotonic() - started))

        await asyncio.gather(caller(), caller())
    return hostile, honest


def stand(texts: list[str]) -> Counter[Outcome]:
    """Require that each ends in time without a reward of 1 and the honest are unharmed; how often each outcome came."""
    hostile, honest = asyncio.run(score_among_honest(texts))
    assert len(hostile) == len(texts)
    assert honest == [1.0, 0.0] * len(texts)
    for verdict, seconds in hostile:
        assert verdict.reward in (None, 0.0)
        assert seconds < TURNS * (TIMEOUT_S + MARGIN_S)
    return Counter(verdict.outcome for verdict, _ in hostile)


def test_there_are_fifty() -> None:
    assert len(HOSTILE) == len(set(HOSTILE.values())) == 50


@pytest.mark.end_to_end
def test_every_hostile_response_is_wrong_at_once() -> None:
    assert stand(list(HOSTILE.values())) == {Outcome.SCORED: len(HOSTILE)}
