"""Evaluation on held-out prompts: correctness of greedy responses, and from sampled responses pass@k and mean@k."""

import asyncio
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from cluster.actors.engines import EnginePool
from cluster.record.metrics.episodes import describe_turns
from cluster.record.metrics.finite import mean_of_finite
from rollout.prompts.prompts import EvalSet
from rollout.types import GroupSummary

EVALUATION = 1 << 40  # group ids of evaluations begin here, so that their seeds never equal those of training
APART = 1 << 24  # group ids between two eval sets, whose seeds depend on their own names only


async def evaluate(engines: EnginePool, sets: Sequence[EvalSet]) -> dict[str, float]:
    """Correctness on every eval set, all asked at once; the metrics of a named set have its name after `eval/`."""
    found = await asyncio.gather(*(evaluate_set(engines, asked) for asked in sets))
    return {key: value for values in found for key, value in values.items()}


async def evaluate_set(engines: EnginePool, asked: EvalSet) -> dict[str, float]:
    """Correctness without shaping: one greedy response to each prompt, and `samples` at the training temperature.

    Responses without a verdict are left out of the means; `failures` counts them. Of episodes, `turns` and `tool_calls` are those of greedy
    ones.
    """
    temperature, prompts, samples = float(engines.config.rollout.temperature), asked.prompts, asked.samples
    first = EVALUATION + APART * crc32(asked.name.encode())  # the unnamed set's is EVALUATION

    async def respond(place: int, size: int, heat: float) -> GroupSummary:
        return (await engines.respond(first + place, prompts[place], size, temperature=heat, learned=False)).summary

    greedy = asyncio.gather(*(respond(place, 1, 0.0) for place in range(len(prompts))))
    sampled = asyncio.gather(*(respond(place, samples, temperature) for place in range(len(prompts))))
    found = await asyncio.gather(greedy, sampled)  # together: a cancelled evaluation must leave neither of them unawaited
    firsts, many = np.concatenate([group.correct for group in found[0]]), np.stack([group.correct for group in found[1]])
    prefix = f"eval/{asked.name}/" if asked.name else "eval/"
    return {
        f"{prefix}greedy": mean_of_finite(firsts),
        f"{prefix}pass@{samples}": mean_of_finite(
            np.where(np.isfinite(many).any(1), np.nanmax(np.where(np.isfinite(many), many, -np.inf), 1), np.nan)
        ),
        f"{prefix}mean@{samples}": mean_of_finite(many.reshape(-1)),
        f"{prefix}failures": float((~np.isfinite(firsts)).sum() + (~np.isfinite(many)).sum()),
        **describe_turns(found[0], prefix),
    }
