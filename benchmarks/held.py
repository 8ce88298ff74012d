"""Held environments: what an episode costs for its process, and what a turn costs, against one that is run again in the pool.

Episodes of the number game, played by halving, in a process each. The cost of a turn is the difference between long episodes and short
ones. CPU time counts the owner, the template and every world.
"""

import asyncio
import time
from typing import Any

import psutil

from benchmarks.rounds import Row, Size, alternate
from configs.schema import Config
from reward.asked import Asked
from reward.held.held import Held
from rollout.transcript.episode import Turn

WORLD = "benchmarks.world:echo"
PLACES, SHORT, LONG = 16, 1, 33
EPISODES_A_STEP = 10


def measure(size: Size) -> list[Row]:
    """Short and long episodes in turns."""
    reward = {"held": True, "held_episodes": PLACES, "memory_mb": 512}
    config = Config.model_validate({"model": {"path": "m"}, "data": {"train": "t.jsonl"}, "reward": reward})
    held, count, names = Held(config, [WORLD]), EPISODES_A_STEP * size.steps, iter(range(1 << 62))

    def played(turns: int) -> dict[str, Any]:
        before, began = cpu_s(), time.perf_counter()
        asyncio.run(play(held, [f"benchmark/{next(names)}" for _ in range(count)], turns))
        return {"seconds": time.perf_counter() - began, "cpu": cpu_s() - before}

    try:
        asyncio.run(held.ready())
        kept = alternate({"short": lambda _: played(SHORT), "long": lambda _: played(LONG)}, size)
    finally:
        held.close()
    short, long = ([1e6 * answer["cpu"] / count for answer in kept[side]] for side in ("short", "long"))
    turn = [(more - less) / (LONG - SHORT) for more, less in zip(long, short, strict=True)]
    episode = [less - SHORT * one for less, one in zip(short, turn, strict=True)]
    waited = [1e6 * answer["seconds"] / count for answer in kept["long"]]
    return [
        Row(what="an episode's process, in CPU time of all", unit="us", values=episode),
        Row(what="a turn of an environment that is held, in CPU time of all", unit="us", values=turn),
        Row(what=f"an episode of {LONG} turns, {PLACES} at once, waited for", unit="us", values=waited),
    ]


async def play(held: Held, names: list[str], turns: int) -> None:
    """Play all episodes at once; their places are the bound."""

    async def episode(name: str) -> None:
        said: tuple[Turn, ...] = ()
        for number in range(turns):
            said = (*said, Turn(said=str(number)))
            answer = await held.reply(asked(name, said))
            assert answer.words == f"heard {number}", answer
        verdict = await held.score(asked(name, said))
        assert verdict.reward == 0.0, verdict

    await asyncio.gather(*map(episode, names))


def asked(name: str, said: tuple[Turn, ...]) -> Asked:
    return Asked(checker=WORLD, response=said[-1].said, reference=0, tokens=1, turns=said, episode=name, over=True)


def cpu_s() -> float:
    """Seconds of CPU that this process and all below it have used, those that have ended included."""
    everyone = [psutil.Process(), *psutil.Process().children(recursive=True)]
    times = [one.cpu_times() for one in everyone]
    return sum(one.user + one.system + (one.children_user + one.children_system if place else 0.0) for place, one in enumerate(times))
