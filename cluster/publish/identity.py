"""The identity publish: at start, publishing the weights that the engines already have must not change their answers."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cluster.actors.fleet.handle import EngineHandle
from cluster.causes.roles import RoleLate
from cluster.publish.probe import PROBES, TOLERANCE, Answers, compare
from cluster.publish.publisher import Published, Publisher, PublishFailed
from rollout.types import Prompt


async def prove_identity(publisher: Publisher, prompts: Sequence[Prompt]) -> Published:
    """Publish version 0 and compare greedy tokens and log-probs of a few prompts before and after; raises PublishFailed."""
    probes = [prompt.token_ids for prompt in prompts[:PROBES]]
    publisher.newcomers.probes = probes
    deadline = float(publisher.engines.config.run.deadline_s)
    asked = list(publisher.engines.alive)
    before = dict(zip(asked, await _answers(asked, probes, deadline), strict=True))
    published = await publisher.publish(0)
    left = [engine for engine in publisher.engines.alive if engine in before]  # one that was started meanwhile has no answers from before
    tolerance = TOLERANCE[publisher.engines.config.engine_dtype]
    for engine, new in zip(left, await _answers(left, probes, deadline), strict=True):
        for found in compare(before[engine], new):
            # In bfloat16 a tie may break the other way.
            if not found.nats <= tolerance or (found.before != found.after and tolerance == TOLERANCE["float32"]):
                raise PublishFailed(
                    f"{engine.name} answers probe {found.place} differently after the identity publish: tokens {found.before} became "
                    f"{found.after}, largest log-prob difference {found.nats:.2e} (allowed {tolerance:.0e}); "
                    "its weights are not the learner's"
                )
    return published


async def _answers(engines: Sequence[EngineHandle], probes: Sequence[NDArray[np.int32]], deadline_s: float) -> list[Answers]:
    async def ask(engine: EngineHandle) -> Answers:
        try:
            async with asyncio.timeout(deadline_s):
                answers: Answers = await engine.actor.probe.remote(probes)
                return answers
        except TimeoutError as error:
            raise RoleLate(engine.role, "did not answer the probe of the identity publish", deadline_s) from error

    return list(await asyncio.gather(*(ask(engine) for engine in engines)))
