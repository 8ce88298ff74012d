"""The KL to the reference as a cost of each response, taken off its reward (kl.place = "reward").

    measured micro-batches ──► kl_costs ──► charged summaries ──► the step planned again ──► the same micro-batches, repriced

Costs change advantages but not which responses are learned, so the second plan has the rows of the first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from configs.presets import Objective
from learner.batch.plan import MicroBatch
from learner.loss.kl import kl_of_responses
from learner.loss.surrogates import LOG_RATIO_LIMIT
from learner.measurement import Part
from learner.process_group import sum_over_ranks
from rollout.types import GroupSummary

Costs = NDArray[np.float64]  # [groups, members], 0 where a response is not learned


def kl_costs(objective: Objective, parts: Iterable[Part], summaries: Sequence[GroupSummary], device: torch.device) -> Costs:
    """The coefficient times the KL of every response of the step, measured by the rank that learns it. A collective."""
    kl, width = objective.kl, max(len(summary.rewards) for summary in summaries)
    found = torch.zeros(len(summaries), width, dtype=torch.float64, device=device)
    for part in parts:
        if not part.rows:
            continue
        assert part.old_logprobs is not None
        assert part.reference_logprobs is not None
        ratio = part.old_logprobs - part.ratio_base(objective.preset, part.old_logprobs)
        found[[row.group for row in part.rows], [row.member for row in part.rows]] = kl_of_responses(
            kl.estimator, part.old_logprobs, part.reference_logprobs, ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT), part.batch.mask
        )
    costs: Costs = kl.coefficient * sum_over_ranks(found).cpu().numpy()
    return costs


def charged(summaries: Sequence[GroupSummary], costs: Costs) -> list[GroupSummary]:
    """The summaries with every cost taken off its reward.

    A cost that is not finite counts as 0: it must not change which rows there are. `repriced` makes its row NaN.
    """
    finite = np.nan_to_num(costs, nan=0.0, posinf=0.0, neginf=0.0)
    return [replace(s, rewards=s.rewards - cost[: len(s.rewards)]) for s, cost in zip(summaries, finite, strict=True)]


def repriced(part: Part, rows: MicroBatch, costs: Costs) -> Part:
    """The part with the advantages of `rows`, its own rows planned again; NaN, which drops the update, where a cost is not finite."""
    rows = tuple(row if np.isfinite(costs[row.group, row.member]) else replace(row, advantage=float("nan")) for row in rows)
    if not rows:
        return part
    advantages = torch.tensor([row.advantage for row in rows], dtype=torch.float32, device=part.batch.advantages.device)
    return replace(part, rows=rows, batch=replace(part.batch, advantages=advantages))
