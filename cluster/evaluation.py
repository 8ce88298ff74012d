"""Evaluation on held-out prompts: correctness of greedy responses, and from sampled responses pass@k and mean@k."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cluster.actors.engines import EnginePool
from cluster.finite import mean_of_finite
from rollout.types import Prompt

EVALUATION = 1 << 40  # group ids of evaluations begin here, so that their seeds never equal those of training


async def evaluate(engines: EnginePool, prompts: Sequence[Prompt], samples: int) -> dict[str, float]:
    """Accuracy on `prompts` by raw correctness: one greedy response each, and `samples` at the training temperature.

    Responses without a verdict are left out of the means; `eval/failures` counts them.
    """
    temperature = float(engines.config.rollout.temperature)

    async def correct(place: int, size: int, heat: float) -> NDArray[np.float64]:
        # Keep only the numbers: the tokens of a whole evaluation would fill the object store.
        return (await engines.respond(EVALUATION + place, prompts[place], size, temperature=heat)).summary.correct

    greedy = asyncio.gather(*(correct(place, 1, 0.0) for place in range(len(prompts))))
    sampled = asyncio.gather(*(correct(place, samples, temperature) for place in range(len(prompts))))
    firsts, many = np.concatenate(await greedy), np.stack(await sampled)
    return {
        "eval/greedy": mean_of_finite(firsts),
        f"eval/pass@{samples}": mean_of_finite(
            np.where(np.isfinite(many).any(1), np.nanmax(np.where(np.isfinite(many), many, -np.inf), 1), np.nan)
        ),
        f"eval/mean@{samples}": mean_of_finite(many.reshape(-1)),
        "eval/failures": float((~np.isfinite(firsts)).sum() + (~np.isfinite(many)).sum()),
    }
