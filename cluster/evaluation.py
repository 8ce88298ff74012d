"""Evaluation on held-out prompts: greedy accuracy, and from sampled responses pass@k and mean@k."""

import asyncio
from collections.abc import Sequence

import numpy as np

from cluster.engines import EnginePool
from rollout.types import Prompt

EVALUATION = 1 << 40  # group ids of evaluations begin here, so their seeds never meet those of training


async def evaluate(engines: EnginePool, prompts: Sequence[Prompt], samples: int) -> dict[str, float]:
    """Accuracy on `prompts` by raw correctness: one greedy response each, and `samples` at the training temperature.

    A failed verdict counts in neither numerator nor denominator; `eval/failures` says how many there were.
    """
    temperature = float(engines.config.rollout.temperature)
    greedy = asyncio.gather(*(engines.respond(EVALUATION + i, p, 1, temperature=0.0) for i, p in enumerate(prompts)))
    sampled = asyncio.gather(*(engines.respond(EVALUATION + i, p, samples, temperature=temperature) for i, p in enumerate(prompts)))
    firsts = np.array([scored.summary.correct[0] for scored in await greedy])
    many = np.stack([scored.summary.correct for scored in await sampled])
    return {
        "eval/greedy": _mean(firsts),
        f"eval/pass@{samples}": _mean(np.where(np.isfinite(many).any(1), np.nanmax(np.where(np.isfinite(many), many, -np.inf), 1), np.nan)),
        f"eval/mean@{samples}": _mean(many.reshape(-1)),
        "eval/failures": float((~np.isfinite(firsts)).sum() + (~np.isfinite(many)).sum()),
    }


def _mean(values: np.ndarray) -> float:
    scored = values[np.isfinite(values)]
    return float(scored.mean()) if scored.size else float("nan")
