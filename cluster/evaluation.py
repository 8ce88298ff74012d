"""Evaluation on held-out prompts: greedy accuracy, and from sampled responses pass@k and mean@k."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cluster.actors.engines import EnginePool
from rollout.types import Prompt

EVALUATION = 1 << 40  # group ids of evaluations begin here, so their seeds never meet those of training


async def evaluate(engines: EnginePool, prompts: Sequence[Prompt], samples: int) -> dict[str, float]:
    """Accuracy on `prompts` by raw correctness: one greedy response each, and `samples` at the training temperature.

    A failed verdict counts in neither numerator nor denominator; `eval/failures` says how many there were.
    """
    temperature = float(engines.config.rollout.temperature)

    async def correct(place: int, size: int, heat: float) -> NDArray[np.float64]:
        # Only the numbers are kept: the tokens of a whole evaluation would fill the object store.
        return (await engines.respond(EVALUATION + place, prompts[place], size, temperature=heat)).summary.correct

    greedy = asyncio.gather(*(correct(place, 1, 0.0) for place in range(len(prompts))))
    sampled = asyncio.gather(*(correct(place, samples, temperature) for place in range(len(prompts))))
    firsts, many = np.concatenate(await greedy), np.stack(await sampled)
    return {
        "eval/greedy": _mean(firsts),
        f"eval/pass@{samples}": _mean(np.where(np.isfinite(many).any(1), np.nanmax(np.where(np.isfinite(many), many, -np.inf), 1), np.nan)),
        f"eval/mean@{samples}": _mean(many.reshape(-1)),
        "eval/failures": float((~np.isfinite(firsts)).sum() + (~np.isfinite(many)).sum()),
    }


def _mean(values: np.ndarray) -> float:
    scored = values[np.isfinite(values)]
    return float(scored.mean()) if scored.size else float("nan")
