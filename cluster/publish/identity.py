"""The identity publish: at start, publishing the weights that the engines already have must not change their answers."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cluster.actors.engines import EngineHandle
from cluster.causes.roles import RoleLate
from cluster.publish.publisher import Published, Publisher, PublishFailed
from rollout.types import Prompt

PROBES = 4
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}  # nats: another batch shape may round differently; a wrong weight changes far more


async def prove_identity(publisher: Publisher, prompts: Sequence[Prompt]) -> Published:
    """Publish version 0 and compare greedy tokens and log-probs of a few prompts before and after; raises PublishFailed."""
    probes = [prompt.token_ids for prompt in prompts[:PROBES]]
    deadline = float(publisher.engines.config.run.deadline_s)
    asked = list(publisher.engines.alive)
    before = dict(zip(asked, await _answers(asked, probes, deadline), strict=True))
    published = await publisher.publish(0)
    left = [engine for engine in publisher.engines.alive if engine in before]
    tolerance = TOLERANCE[publisher.engines.config.engine_dtype]
    for engine, new in zip(left, await _answers(left, probes, deadline), strict=True):
        old = before[engine]
        for place, ((tokens, logprobs), (again, logprobs_again)) in enumerate(zip(old, new, strict=True)):
            # In bfloat16 a tie may break the other way. Log-probs must agree up to and at that token; after it nothing is comparable.
            parting = next((i for i, (a, b) in enumerate(zip(tokens, again, strict=False)) if a != b), len(tokens))
            difference = max((abs(a - b) for a, b in list(zip(logprobs, logprobs_again, strict=False))[: parting + 1]), default=0.0)
            if difference > tolerance or (tokens != again and tolerance == TOLERANCE["float32"]):
                raise PublishFailed(
                    f"{engine.name} answers probe {place} differently after the identity publish: tokens {tokens} became {again}, "
                    f"largest log-prob difference {difference:.2e} (allowed {tolerance:.0e}); its weights are not the learner's"
                )
    return published


async def _answers(
    engines: Sequence[EngineHandle], probes: Sequence[NDArray[np.int32]], deadline_s: float
) -> list[list[tuple[list[int], list[float]]]]:
    async def ask(engine: EngineHandle) -> list[tuple[list[int], list[float]]]:
        try:
            async with asyncio.timeout(deadline_s):
                answers: list[tuple[list[int], list[float]]] = await engine.actor.probe.remote(probes)
                return answers
        except TimeoutError as error:
            raise RoleLate(engine.role, "did not answer the probe of the identity publish", deadline_s) from error

    return list(await asyncio.gather(*(ask(engine) for engine in engines)))
