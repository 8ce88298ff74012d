"""The ways to vLLM that `benchmarks.rollout` compares, each in a process of its own."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import ray

from benchmarks.peer import GRACE_S, Work
from benchmarks.prompts import Picked, pick, requests
from cluster.actors.engine_actor import EngineActor
from cluster.actors.engines import EnginePool
from cluster.actors.process import freeze_gc
from cluster.actors.reward_actor import RewardActor
from cluster.actors.session import engine_env, ray_session
from configs.schema import Config
from rollout.transfer.transport import choose_transport
from rollout.types import Prompt

if TYPE_CHECKING:
    from rollout.engine.engine import Engine


@contextmanager
def bare(config: Config) -> Iterator[Work]:
    """vLLM's offline interface, used as in its documentation."""
    from vllm import LLM

    dtype: Any = config.engine_dtype  # one of vLLM's own names, which its signature lists
    llm = LLM(
        model=config.model.path,
        dtype=dtype,
        seed=config.run.seed,
        max_model_len=config.context_tokens,
        logprobs_mode="processed_logprobs",
        **config.rollout.vllm,
    )
    picked = pick(config)

    def work(job: dict[str, Any]) -> dict[str, Any]:
        chosen = picked(job["number"])
        started = time.perf_counter()
        answers = llm.generate(*requests(config, chosen), use_tqdm=False)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "tokens": sum(len(answer.outputs[0].token_ids) for answer in answers)}

    yield work


@contextmanager
def engine(config: Config) -> Iterator[Work]:
    """Gatewise's engine in this process."""

    async def group(served: "Engine", group_id: int, prompt: Prompt) -> int:
        of_group = served.respond_group(group_id, prompt, config.run.seed, config.rollout.group_size)
        return sum([len(response) async for _, response in of_group])

    yield from _served(config, lambda served, chosen: [group(served, *pair) for pair in chosen])


@contextmanager
def asynchronous(config: Config) -> Iterator[Work]:
    """The AsyncLLM inside Gatewise's engine, used directly: no groups, no text, no arrays."""
    numbers = count()

    async def one(served: "Engine", prompt: Any, params: Any) -> int:
        answers = [answer async for answer in served.llm.generate(prompt, params, f"{next(numbers)}")]
        return len(answers[-1].outputs[0].token_ids)

    yield from _served(config, lambda served, chosen: [one(served, *pair) for pair in zip(*requests(config, chosen), strict=True)])


def _served(config: Config, calls: Callable[["Engine", Picked], Sequence[Awaitable[int]]]) -> Iterator[Work]:
    picked = pick(config)

    async def build() -> "Engine":
        from rollout.engine.engine import Engine

        return Engine(config, choose_transport(config, gpu=False))

    with asyncio.Runner() as runner:
        served = runner.run(build())
        try:
            yield lambda job: runner.run(timed(lambda: calls(served, picked(job["number"]))))
        finally:
            served.shutdown()


@contextmanager
def actors(config: Config) -> Iterator[Work]:
    """Engine and reward workers behind Ray as in a run; every response is scored."""
    picked = pick(config)

    async def group(pool: EnginePool, group_id: int, prompt: Prompt) -> int:
        scored = await pool.respond(group_id, prompt, config.rollout.group_size, texts=1)
        return int(scored.summary.lengths.sum())

    with ray_session(config), asyncio.Runner() as runner:
        reward: Any = ray.remote(RewardActor).options(num_cpus=0, max_concurrency=1000).remote(config, 0, [], os.getcwd())
        kind = ray.remote(EngineActor).options(num_cpus=1, max_concurrency=10_000)
        actor: Any = kind.remote(config, 0, choose_transport(config, gpu=False), reward, env=engine_env(config, gpu=False))
        pool = EnginePool(config, [actor], on_retry=lambda group_id: None)
        pool.ranks_on_one_node = lambda: True  # as in a run of one rank
        try:
            ray.get([reward.ready.remote(), actor.ready.remote()])
            freeze_gc()  # as the driver of a run does
            yield lambda job: runner.run(timed(lambda: [group(pool, *pair) for pair in picked(job["number"])]))
        finally:
            ray.wait([actor.shutdown.remote(), reward.shutdown.remote()], num_returns=2, timeout=GRACE_S / 2)


async def timed(calls: Callable[[], Sequence[Awaitable[int]]]) -> dict[str, Any]:
    """Make all calls at once and wait for the last: the seconds, and the tokens generated."""
    started = time.perf_counter()
    tokens = await asyncio.gather(*calls())
    return {"seconds": time.perf_counter() - started, "tokens": sum(tokens)}
