"""Episodes in the pool: what a turn costs that is run again from its start, and what ten thousand of them leave behind.

The number game is played by halving, so an episode has up to ten turns. The other side scores as many plain responses of one text each, so
the ratio is what the environment adds. Of the episodes that are played for the last figures, one in twenty breaks in its second turn: it
raises, hangs, dies, or differs from what it said before.
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import psutil

from benchmarks import asking
from benchmarks.rounds import Row, Size, alternate, ratio
from benchmarks.world import guess
from reward.episodes.replay import replay
from reward.episodes.transcript import Past, Transcript
from reward.workers.pool import Item, RewardPool
from rollout.types import Outcome, Verdict

GUESS, BREAKS = "benchmarks.world:guess", "benchmarks.world:breaks"
WORKERS, MEMORY_MB, MOST = 1, 512, 1000
AT_ONCE = 512
KINDS = ("raises", "hangs", "dies", "differs")
OF = {"raises": {Outcome.UNSCORABLE}, "differs": {Outcome.UNSCORABLE}, "hangs": {Outcome.TIMED_OUT}}
DEADLY = {Outcome.CRASHED, Outcome.TIMED_OUT}  # late, where the machine is too busy to let it die in time


class Game:
    """One member's side of the number game."""

    def __init__(self, secret: int) -> None:
        self.secret, self.low, self.high = secret, 0, MOST
        self.past: list[Past] = []
        self.said = str(MOST // 2)

    def item(self, *, score: bool = False) -> Item:
        """The question after the newest turn."""
        turns = (*self.past, Past(self.said))
        return Item(checker=GUESS, response=self.said, reference=self.secret, transcript=Transcript(turns=turns, score=score))

    def take(self, verdict: Verdict) -> bool:
        """Play on after an answer; whether the episode is over."""
        assert verdict.reward is not None, verdict
        words = verdict.words.get("words")
        if words is None:
            return True
        self.past.append(Past(self.said, words))
        number = int(self.said)
        self.low, self.high = (number + 1, self.high) if words.startswith("higher") else (self.low, number)
        self.said = str((self.low + self.high) // 2)
        return False


async def play(pool: RewardPool, secrets: Sequence[int]) -> int:
    """Play the games to their ends, all at once; how many turns were answered or scored."""
    games, turns = [Game(secret) for secret in secrets], 0
    while games:
        turns += len(games)
        verdicts = await pool.score([game.item() for game in games])
        over = [game for game, verdict in zip(games, verdicts, strict=True) if game.take(verdict)]
        games = [game for game in games if game not in over]
        turns += len(over)
        scored = await pool.score([game.item(score=True) for game in over])
        assert all(verdict.reward == 1.0 for verdict in scored), scored[:3]
    return turns


def broken(number: int) -> tuple[Item, set[Outcome]]:
    """An episode that breaks in its second turn, no two alike, and what must come of it."""
    how = KINDS[number % len(KINDS)]
    before = "never said" if how == "differs" else "first"
    turns = (Past(str(number), before), Past("on"))
    item = Item(checker=BREAKS, response="on", reference=how, transcript=Transcript(turns=turns))
    return item, OF.get(how, DEADLY)


def measure(size: Size) -> list[Row]:
    """All measurements: in the pool, asked by an engine, and what is left."""
    secrets = [(7 * number) % MOST for number in range(8 * size.steps)]
    with_pool = RewardPool(workers=WORKERS, timeout_s=2.0, memory_mb=MEMORY_MB, warm=[GUESS, "exact"])
    turns = asyncio.run(play(with_pool, secrets))
    plain = [Item(checker="exact", response=str(number), reference=number) for number in range(turns)]

    def timed(work: Callable[[], Any]) -> Callable[[int], dict[str, Any]]:
        def one_round(_: int) -> dict[str, Any]:
            began, used = time.perf_counter(), cpu_s()
            work()
            return {"seconds": time.perf_counter() - began, "cpu": cpu_s() - used}

        return one_round

    try:
        sides = {
            "episodes": timed(lambda: asyncio.run(play(with_pool, secrets))),
            "responses": timed(lambda: asyncio.run(with_pool.score(plain))),
        }
        kept = alternate(sides, size)
    finally:
        with_pool.close()
    again, alone = ([1e6 * answer["cpu"] / turns for answer in answers] for answers in kept.values())
    waited = [1e6 * answer["seconds"] / turns for answer in kept["episodes"]]
    return [
        Row(what=f"a turn of {turns} that is run again from its start, waited for", unit="us", values=waited),
        Row(what="the same in CPU time of the owner and its worker", unit="us", values=again),
        Row(what="a response of the checker exact, in CPU time", unit="us", values=alone),
        ratio("a turn over a response", again, alone),
        *alone_again(secrets, size),
        *asking.measure(size),
        *leftovers(400 * size.steps),
    ]


def alone_again(secrets: Sequence[int], size: Size) -> list[Row]:
    """What running a turn's episode again costs in its process, past an environment that stands at its newest turn: no pool, no call."""
    asked: list[tuple[int, Transcript]] = []
    for game in (Game(secret) for secret in secrets):
        over = False
        while not over:
            item = game.item()
            assert item.transcript is not None
            asked.append((game.secret, item.transcript))
            answered = replay(partial(guess, secret=game.secret), item.transcript).answered
            over = game.take(Verdict(reward=0.0, outcome=Outcome.SCORED, words={"words": answered} if isinstance(answered, str) else {}))

    def run_again(_: int) -> dict[str, Any]:
        began = time.perf_counter()
        for secret, transcript in asked:
            replay(partial(guess, secret=secret), transcript)
        return {"seconds": time.perf_counter() - began}

    def stand(_: int) -> dict[str, Any]:
        began = time.perf_counter()
        for secret, transcript in asked:
            if len(transcript.turns) == 1:
                world = guess(transcript.turns[0].said, secret)
            with suppress(StopIteration):
                next(world) if len(transcript.turns) == 1 else world.send(transcript.turns[-1].said)
        return {"seconds": time.perf_counter() - began}

    kept = alternate({"run again": run_again, "stands": stand}, size)
    extra = [1e6 * (again["seconds"] - standing["seconds"]) / len(asked) for again, standing in zip(*kept.values(), strict=True)]
    return [Row(what=f"what running again adds to one of {len(asked)} turns, in its process", unit="us", values=extra)]


def cpu_s() -> float:
    """Seconds of CPU that this process and all below it have used."""
    everyone = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(times.user + times.system for times in (one.cpu_times() for one in everyone))


def leftovers(episodes: int) -> list[Row]:
    """What so many episodes leave behind."""
    me = psutil.Process()
    gc.collect()
    children, descriptors = set(me.children(recursive=True)), set(os.listdir("/proc/self/fd"))
    resident: list[float] = []

    async def main() -> None:
        async with RewardPool(workers=2, timeout_s=0.5, memory_mb=256, warm=[GUESS, BREAKS]) as pool:
            for first in range(0, episodes, AT_ONCE):
                numbers = range(first, min(episodes, first + AT_ONCE))
                bad = [broken(number // 20) for number in numbers if number % 20 == 0]
                playing = play(pool, [number % MOST for number in numbers if number % 20])
                _, verdicts = await asyncio.gather(playing, pool.score([item for item, _ in bad]))
                for verdict, (item, outcomes) in zip(verdicts, bad, strict=True):
                    assert verdict.outcome in outcomes, (item, verdict)
                resident.append(me.memory_info().rss / 2**20)

    asyncio.run(main())
    gc.collect()
    grown = resident[-1] - resident[len(resident) // 10]
    return [
        Row(what=f"processes left by {episodes} episodes", unit="", values=[len(set(me.children(recursive=True)) - children)]),
        Row(what="descriptors left", unit="", values=[len(set(os.listdir("/proc/self/fd")) - descriptors)]),
        Row(what="memory of the owner after the last tenth of them, less after the first", unit="MB", values=[grown]),
    ]
