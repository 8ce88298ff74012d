"""The KL to the reference as a cost of each response, or of each turn, taken off its reward (kl.place = "reward").

    measured micro-batches ──► kl_costs ──► charged summaries ──► the step planned again ──► the same micro-batches, repriced

Costs change advantages but not which responses are learned, so the second plan has the rows of the first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.presets import Objective
from learner.batch.plan import MicroBatch, Row
from learner.batch.tensors import advantages_of
from learner.loss.kl import kl_of_tokens
from learner.loss.surrogates import LOG_RATIO_LIMIT
from learner.loss.turns import rewards_of_turns
from learner.measurement import Part
from learner.process_group import sum_over_ranks
from rollout.types import GroupSummary

# [groups, members, turns], 0 where a response is not learned. One column has all of a response where its turns have one advantage.
Costs = NDArray[np.float64]


def kl_costs(
    objective: Objective, parts: Iterable[Part], summaries: Sequence[GroupSummary], device: torch.device, *, by_turn: bool = False
) -> Costs:
    """The coefficient times the KL of every response of the step, measured by the rank that learns it. A collective."""
    kl, width = objective.kl, max(len(summary.rewards) for summary in summaries)
    turns = max(int(summary.turns.max(initial=1)) for summary in summaries) if by_turn else 1
    found = torch.zeros(len(summaries), width, turns, dtype=torch.float64, device=device)
    for part in parts:
        if not part.rows:
            continue
        assert part.old_logprobs is not None
        assert part.reference_logprobs is not None
        ratio = part.old_logprobs - part.ratio_base(objective.preset, part.old_logprobs)
        bounded = ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        of_tokens = kl_of_tokens(kl.estimator, part.old_logprobs, part.reference_logprobs, bounded, part.batch.mask)
        costs = in_turns(of_tokens, part.batch.turns)
        place = [torch.tensor([[getattr(row, name)] for row in part.rows], device=device) for name in ("group", "member", "first_turn")]
        # A column beyond a row's own turns has no cost to add, so any column may take it.
        column = (place[2] * by_turn + torch.arange(costs.shape[1], device=device)).clamp(max=turns - 1)
        found.index_put_((place[0].expand_as(costs), place[1].expand_as(costs), column), costs, accumulate=True)
    whole: Costs = kl.coefficient * sum_over_ranks(found).cpu().numpy()
    return whole


def in_turns(of_tokens: Tensor, turns: Tensor | None) -> Tensor:
    """Values of tokens [B, T] summed over each turn, float64 [B, K]; one column of the whole response where `turns` [B, T] is None."""
    if turns is None:
        return of_tokens.sum(-1, keepdim=True, dtype=torch.float64)
    table = of_tokens.new_zeros(len(turns), int(turns.max()) + 1, dtype=torch.float64)
    return table.scatter_add(1, turns.clamp(min=0), of_tokens.double())


def charged(summaries: Sequence[GroupSummary], costs: Costs) -> list[GroupSummary]:
    """The summaries with every cost taken off its reward.

    A cost that is not finite counts as 0: it must not change which rows there are. `repriced` makes its row NaN.
    """
    finite = np.nan_to_num(costs, nan=0.0, posinf=0.0, neginf=0.0)
    return [_charge(summary, cost[: len(summary.rewards)]) for summary, cost in zip(summaries, finite, strict=True)]


def _charge(summary: GroupSummary, cost: NDArray[np.float64]) -> GroupSummary:
    """A summary less the costs of its responses [G, turns]."""
    charged = replace(summary, rewards=summary.rewards - cost.sum(1))
    if cost.shape[1] == 1:
        return charged
    earned = rewards_of_turns(summary, summary.rewards)
    return replace(charged, turn_rewards=tuple(values - of_turns[: len(values)] for values, of_turns in zip(earned, cost, strict=True)))


def repriced(part: Part, rows: MicroBatch, costs: Costs) -> Part:
    """The part with the advantages of `rows`, its own rows planned again; NaN, which drops the update, where a cost is not finite."""
    rows = tuple(row if np.isfinite(costs[row.place]).all() else _spoilt(row) for row in rows)
    if not rows:
        return part
    advantages = advantages_of(rows, part.batch.turns).to(part.batch.advantages.device)
    return replace(part, rows=rows, batch=replace(part.batch, advantages=advantages))


def _spoilt(row: Row) -> Row:
    nan = float("nan")
    return replace(row, advantage=nan, by_turn=(nan,) * len(row.by_turn))
