"""The KL to the reference as a cost of each response, or of each turn, taken off its reward (kl.place = "reward").

    measured micro-batches ──► kl_costs ──► charged summaries ──► the step planned again ──► the same micro-batches, repriced

Costs change advantages but not which responses are learned, so the second plan has the rows of the first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from configs.presets import Objective
from learner.batch.costs import Costs, Measured, cost_table
from learner.batch.row import MicroBatch, Row
from learner.batch.tensors import advantages_of
from learner.measurement import Part
from learner.process_group import sum_over_ranks
from rollout.types import GroupSummary


def kl_costs(
    objective: Objective, parts: Iterable[Part], summaries: Sequence[GroupSummary], device: torch.device, *, by_turn: bool = False
) -> Costs:
    """The coefficient times the KL of every response of the step, measured by the rank that learns it. A collective."""
    table = cost_table(objective, [measured(part) for part in parts if part.rows], summaries, device, by_turn=by_turn)
    whole: Costs = objective.kl.coefficient * sum_over_ranks(table).cpu().numpy()
    return whole


def measured(part: Part) -> Measured:
    """What the costs of a micro-batch are computed from."""
    assert part.old_logprobs is not None
    assert part.reference_logprobs is not None
    batch = part.batch
    return Measured(part.rows, batch.mask, batch.turns, part.old_logprobs, batch.engine_logprobs, part.reference_logprobs)


def repriced(part: Part, rows: MicroBatch, costs: Costs) -> Part:
    """The part with the advantages of `rows`, its own rows planned again; NaN, which drops the update, where a cost is not finite."""
    rows = tuple(row if np.isfinite(costs[row.place]).all() else _spoilt(row) for row in rows)
    if not rows:
        return part
    advantages = advantages_of(rows, part.batch.turns).to(part.batch.advantages.device)
    return replace(part, rows=rows, batch=replace(part.batch, advantages=advantages))


def _spoilt(row: Row) -> Row:
    nan = float("nan")
    return row._replace(advantage=nan, by_turn=(nan,) * len(row.by_turn))
