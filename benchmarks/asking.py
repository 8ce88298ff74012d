"""What a turn of an environment that is run again costs an engine: asked through Ray, and over the line to the reward actor.

The number game is played by halving, many games at once or one alone, which is the worst case: each of its turns is a call of its own.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import psutil
import ray

from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, ratio
from benchmarks.world import guess
from cluster.actors.fleet.line import Line
from cluster.actors.fleet.questions import TOGETHER, Questions
from cluster.actors.reward_actor import RewardActor
from cluster.actors.session import ray_session
from configs.loader import load
from reward.asked import Asked
from rollout.transcript.episode import Answer, Turn

GUESS, MOST = f"{guess.__module__}:{guess.__name__}", 1000
GAMES = {TOGETHER: 16 * TOGETHER, 1: 24}  # played in a round, by how many are played at once
GRACE_S = 10.0


async def play(questions: Questions, secret: int) -> int:
    """Play one game to its end; how many turns were asked about."""
    low, high, turns = 0, MOST, list[Turn]()
    while True:
        said = str((low + high) // 2)
        asked = Asked(checker=GUESS, response=said, reference=secret, tokens=1, turns=(*turns, Turn(said=said)))
        answer = await questions.reply(asked)
        assert answer.failure is None, answer
        if answer.words is None:
            return len(turns) + 1
        turns.append(Turn(said=said, answer=Answer(words=answer.words)))
        low, high = (int(said) + 1, high) if answer.words.startswith("higher") else (low, int(said))


async def play_all(questions: Questions, games: int, at_once: int) -> int:
    """So many games, `at_once` of them at the same time; the turns."""
    secrets = iter([(7 * number) % MOST for number in range(games)])

    async def one_after_another() -> int:
        return sum([await play(questions, secret) for secret in secrets])

    return sum(await asyncio.gather(*(one_after_another() for _ in range(at_once))))


def measure(size: Size) -> list[Row]:
    """CPU time of a turn in this process, the reward actor and its worker, in turns."""
    config = load(CONFIG, [f"run.dir={OUT / 'asking'}", f"reward.checker={GUESS}"])
    with ray_session(config), asyncio.Runner() as runner:
        reward: Any = ray.remote(RewardActor).options(num_cpus=0, max_concurrency=1000).remote(config, 0, [], os.getcwd())
        try:
            ray.get(reward.ready.remote())
            both = [psutil.Process(), psutil.Process(ray.get(reward.process.remote()))]
            ways = {"Ray": Questions(config, reward), "line": Questions(config, reward, Line(lambda: reward.line.remote()))}

            def side(questions: Questions, at_once: int) -> Callable[[int], dict[str, Any]]:
                def one_round(_: int) -> dict[str, Any]:
                    began, used = time.perf_counter(), cpu_s(both)
                    turns = runner.run(play_all(questions, GAMES[at_once], at_once))
                    return {"seconds": time.perf_counter() - began, "turn": 1e6 * (cpu_s(both) - used) / turns}

                return one_round

            sides = {(way, at_once): side(questions, at_once) for at_once in GAMES for way, questions in ways.items()}
            kept = alternate({f"{way}, {at_once} at once": work for (way, at_once), work in sides.items()}, size)
            runner.run(ways["line"].close())
        finally:
            ray.wait([reward.shutdown.remote()], timeout=GRACE_S)
    turn = {side: [answer["turn"] for answer in answers] for side, answers in kept.items()}
    return [
        *(Row(what=f"a turn that is run again, asked by an engine: {side}", unit="us", values=values) for side, values in turn.items()),
        *(ratio(f"a turn over the line / through Ray, {n} at once", turn[f"line, {n} at once"], turn[f"Ray, {n} at once"]) for n in GAMES),
    ]


def cpu_s(processes: list[psutil.Process]) -> float:
    """Seconds of CPU that these processes, and what the last one has started, have used."""
    everyone = [*processes, *processes[-1].children(recursive=True)]
    return sum(times.user + times.system for times in (one.cpu_times() for one in everyone))
