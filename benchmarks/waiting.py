"""Tokens per second of an engine whose episodes wait for their environment between turns, against the same episodes without a wait.

So many episodes are in flight all the time: each that ends is followed by a new one. A turn has at least TURN tokens. The environment
sleeps 0 to SLEEP_S seconds and answers with a few words. The engine, and what asks the reward actor, are those of a run; only Ray and the
workers are missing. A third side, in the same process, measures what asking costs where nobody sleeps.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np

from benchmarks.peer import Work, peers
from benchmarks.rounds import OUT, Row, Size, alternate, figures, ratio
from cluster.actors.fleet.group_work import GroupWork
from cluster.actors.fleet.questions import Questions
from cluster.actors.session import engine_env
from configs.loader import load
from configs.schema import Config
from reward.asked import Asked, Wants
from rollout.episode import Answer
from rollout.pulse import GroupAtWork
from rollout.transport import choose_transport
from rollout.types import Prompt, Verdict

CONFIG = "configs/tiny_cpu.toml"
EPISODES, GROUP = 256, 8  # in flight, and of one prompt
TURNS, TURN, SLEEP_S = 4, 96, 2.0
WARM_S, MEASURED_S = 4.0, 12.0
CHECKER = "world"
OVERRIDES = (
    f"run.dir={OUT / 'waiting'}",
    f"rollout.max_response_tokens={TURNS * TURN * 2}",
    "rollout.vllm={enforce_eager=true, hf_overrides={max_position_embeddings=1024}}",
)


class Sleeper:
    """A reward actor whose environment sleeps, drawn once for each turn of each episode."""

    def __init__(self, sleep_s: float) -> None:
        self.sleep_s = sleep_s

    async def reply(self, asked: Sequence[Asked]) -> list[Answer]:
        return list(await asyncio.gather(*map(self.answer, asked)))

    async def answer(self, asked: Asked) -> Answer:
        number = len(asked.turns)
        if number == TURNS:
            return Answer()
        await asyncio.sleep(self.sleep_s * random.Random(f"{asked.seed} {number}").random())
        return Answer(words="12+34=")

    async def score(self, asked: Sequence[Asked]) -> list[Verdict]:
        return [Verdict(reward=1.0) for _ in asked]

    async def leave(self, episodes: Sequence[str]) -> None: ...


class Local:
    """Calls of an object in this process, in the form of calls of an actor."""

    def __init__(self, behind: Any) -> None:
        self.behind = behind

    def __getattr__(self, name: str) -> Any:
        return type("Call", (), {"remote": staticmethod(getattr(self.behind, name))})


def measure(size: Size) -> list[Row]:
    """Rounds of some seconds each, with and without sleep, on one engine."""
    env = engine_env(load(CONFIG, OVERRIDES), gpu=False)
    with peers({"waiting.engine": env}, OVERRIDES) as on:
        sides = {
            "no sleep": lambda number: on["engine"].ask(sleep_s=0.0),
            f"sleep 0-{SLEEP_S:g} s": lambda number: on["engine"].ask(sleep_s=SLEEP_S),
        }
        found = alternate(sides, Size(warm_up=0, rounds=min(size.rounds, 5), steps=0, runs=0))
    quick, slow = ([answer["tokens"] / answer["seconds"] for answer in answers] for answers in found.values())
    return [
        ratio(f"sleeping 0-{SLEEP_S:g} s a turn / no sleep, tokens/s of {EPISODES} episodes", slow, quick),
        *(Row(what=side, unit="tokens/s", values=values) for side, values in zip(found, (quick, slow), strict=True)),
        *(figures(f"requests at the engine, {side}", "requests", answers, "requests") for side, answers in found.items()),
    ]


@contextmanager
def engine(config: Config) -> Iterator[Work]:
    """The engine in this process."""
    import rollout.engine
    from rollout.sampling import sampling

    def long(*args: Any) -> Any:
        params = sampling(*args)
        params.min_tokens = min(TURN, params.max_tokens or TURN)
        return params

    vars(rollout.engine)["sampling"] = long
    numbers = count()

    async def build() -> Any:
        return rollout.engine.Engine(config, choose_transport(config, gpu=False))

    async def forever(served: Any, questions: Questions) -> None:
        wants = Wants(by_checker={CHECKER: ("yields",)})
        prompt = Prompt(prompt_id="p", token_ids=np.arange(4, 10, dtype=np.int32), reference="", checker=CHECKER)
        while True:
            mine = GroupAtWork(next(numbers), evaluated=False)
            await GroupWork(questions, mine, prompt, wants, size=GROUP, engine="engine-0/").run(served, None)

    async def rate(served: Any, sleep_s: float) -> dict[str, Any]:
        questions = Questions(config, Local(Sleeper(sleep_s)))
        groups = [asyncio.create_task(forever(served, questions)) for _ in range(EPISODES // GROUP)]
        loop, requests = asyncio.get_running_loop(), []
        await asyncio.sleep(WARM_S)
        began, before = loop.time(), served.work.tokens
        while loop.time() < began + MEASURED_S:
            await asyncio.sleep(0.1)
            requests.append(served.pulse()["requests"])
        seconds, tokens = loop.time() - began, served.work.tokens - before
        for group in groups:
            group.cancel()
        await asyncio.gather(*groups, return_exceptions=True)
        return {"seconds": seconds, "tokens": tokens, "requests": float(np.mean(requests))}

    with asyncio.Runner() as runner:
        served = runner.run(build())
        try:
            yield lambda job: runner.run(rate(served, job["sleep_s"]))
        finally:
            served.shutdown()
