"""Tokens per second of an engine whose episodes wait for their environment between turns, against the same episodes without a wait.

So many episodes are in flight all the time: each that ends is followed by a new one. They are more than the engine has slots, as in a full
window. A turn has at least TURN tokens. The environment sleeps 0 to SLEEP_S seconds and answers with a few words. The engine, and what asks
the reward actor, are those of a run; only Ray and the workers are missing.

Other processes on the machine slow a round of one side and not of the other, so read the witnesses too, which they do not change: tokens of
one step of the core (it makes one for each slot in use), the share of moments with every slot in use, and tokens per second of its CPU.
"""

import asyncio
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import psutil

from benchmarks.peer import Work, peers
from benchmarks.rounds import OUT, Row, Size, alternate, figures, ratio
from cluster.actors.fleet.group_work import GroupWork
from cluster.actors.fleet.questions import Questions
from cluster.actors.session import engine_env
from configs.loader import load
from configs.schema import Config
from reward.asked import Asked, Wants
from rollout.engine.pulse import GroupAtWork
from rollout.transcript.episode import Answer
from rollout.transfer.transport import choose_transport
from rollout.types import Prompt, Verdict

CONFIG = "configs/tiny_cpu.toml"
EPISODES, GROUP = 256, 8  # in flight, and of one prompt
SLOTS = 64  # of the engine
TURNS, TURN, SLEEP_S = 4, 96, 2.0
WARM_S, MEASURED_S, MOMENT_S = 4.0, 8.0, 0.05
CHECKER = "world"
OVERRIDES = (
    f"run.dir={OUT / 'waiting'}",
    f"rollout.max_response_tokens={TURNS * TURN * 2}",
    f"rollout.vllm={{enforce_eager=true, max_num_seqs={SLOTS}, hf_overrides={{max_position_embeddings=1024}}}}",
)


class Sleeper:
    """A reward actor whose environment sleeps, drawn once for each turn of each episode."""

    def __init__(self, sleep_s: float) -> None:
        self.sleep_s, self.calls, self.turns = sleep_s, 0, 0

    async def reply(self, asked: Sequence[Asked]) -> list[Answer]:
        self.calls, self.turns = self.calls + 1, self.turns + len(asked)
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
    """Rounds of some seconds each, with and without sleep, in turns on one engine."""
    env = engine_env(load(CONFIG, OVERRIDES), gpu=False)
    with peers({"waiting.engine": env}, OVERRIDES) as on:
        sides = {
            "no sleep": lambda number: on["engine"].ask(sleep_s=0.0),
            f"sleep 0-{SLEEP_S:g} s": lambda number: on["engine"].ask(sleep_s=SLEEP_S),
        }
        found = alternate(sides, Size(warm_up=0, rounds=min(size.rounds, 5), steps=0, runs=0))
    quick, slow = found.values()
    rows = [
        ratio(f"sleeping 0-{SLEEP_S:g} s a turn / no sleep, {what}", [one[key] for one in slow], [one[key] for one in quick])
        for key, what in (("rate", f"tokens/s of {EPISODES} episodes"), ("batch", "tokens a step"), ("cpu_rate", "tokens/s of CPU"))
    ]
    for side, answers in found.items():
        rows += [
            figures(f"tokens, {side}", "tokens/s", answers, "rate"),
            figures(f"tokens of one step of {SLOTS} slots, {side}", "tokens", answers, "batch"),
            figures(f"moments with every slot in use, {side}", "share", answers, "full"),
            figures(f"requests at the engine, {side}", "requests", answers, "requests"),
            figures(f"turns answered by one call, {side}", "turns", answers, "together"),
        ]
    return rows


@contextmanager
def engine(config: Config) -> Iterator[Work]:
    """The engine in this process."""
    import rollout.engine.engine
    from rollout.engine.sampling import sampling

    def long(*args: Any) -> Any:
        params = sampling(*args)
        params.min_tokens = min(TURN, params.max_tokens or TURN)
        return params

    vars(rollout.engine.engine)["sampling"] = long
    numbers = count()

    async def build() -> Any:
        return rollout.engine.engine.Engine(config, choose_transport(config, gpu=False))

    async def forever(served: Any, questions: Questions) -> None:
        wants = Wants(by_checker={CHECKER: ("yields",)})
        prompt = Prompt(prompt_id="p", token_ids=np.arange(4, 10, dtype=np.int32), reference="", checker=CHECKER)
        while True:
            mine = GroupAtWork(next(numbers), evaluated=False)
            await GroupWork(questions, mine, prompt, wants, size=GROUP, engine="engine-0/").run(served, None)

    async def rate(served: Any, sleep_s: float) -> dict[str, Any]:
        sleeper = Sleeper(sleep_s)
        questions = Questions(config, Local(sleeper))
        groups = [asyncio.create_task(forever(served, questions)) for _ in range(EPISODES // GROUP)]
        core = [psutil.Process(process.pid) for process in served.processes()]
        loop, requests, running = asyncio.get_running_loop(), [], []
        await asyncio.sleep(WARM_S)
        began, used, tokens, steps = loop.time(), cpu_s(core), served.work.tokens, served.work.steps
        while loop.time() < began + MEASURED_S:
            await asyncio.sleep(MOMENT_S)
            requests.append(served.pulse()["requests"])
            running.append(served.work.queue[0])
        seconds, used = loop.time() - began, cpu_s(core) - used
        tokens, steps = served.work.tokens - tokens, served.work.steps - steps
        for group in groups:
            group.cancel()
        await asyncio.gather(*groups, return_exceptions=True)
        return {
            "seconds": seconds,
            "rate": tokens / seconds,
            "batch": tokens / steps,
            "cpu_rate": tokens / used,
            "together": sleeper.turns / sleeper.calls,
            "requests": statistics.fmean(requests),
            "full": statistics.fmean(number >= SLOTS for number in running),
        }

    with asyncio.Runner() as runner:
        served = runner.run(build())
        try:
            yield lambda job: runner.run(rate(served, job["sleep_s"]))
        finally:
            served.shutdown()


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Seconds of CPU that these have used."""
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))
