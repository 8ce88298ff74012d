"""What the KL to the reference costs each response, or each turn, where it is taken off rewards (kl.place = "reward")."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.presets import Objective, Preset
from learner.batch.row import MicroBatch
from learner.loss.kl import kl_of_tokens
from learner.loss.surrogates import LOG_RATIO_LIMIT
from learner.loss.turns import rewards_of_turns
from rollout.types import GroupSummary

# [groups, members, turns], 0 where a response is not learned. One column has all of a response where its turns have one advantage.
Costs = NDArray[np.float64]


class Measured(NamedTuple):
    """A micro-batch with its log-probs before the step's first update, each [B, T]."""

    rows: MicroBatch
    mask: Tensor
    turns: Tensor | None
    old_logprobs: Tensor
    engine_logprobs: Tensor | None
    reference_logprobs: Tensor


def ratio_base(preset: Preset, old_logprobs: Tensor, engine_logprobs: Tensor | None) -> Tensor:
    """The log-probs that the ratio is taken to [B, T]: the old ones, or the engine's if the preset says so and they are known."""
    return engine_logprobs if preset.old == "engine" and engine_logprobs is not None else old_logprobs


def cost_table(
    objective: Objective, parts: Iterable[Measured], summaries: Sequence[GroupSummary], device: torch.device, *, by_turn: bool = False
) -> Tensor:
    """The KL of the responses in these micro-batches, without its coefficient, float64 [groups, members, turns]."""
    width = max(len(summary.rewards) for summary in summaries)
    turns = max(int(summary.turns.max(initial=1)) for summary in summaries) if by_turn else 1
    found = torch.zeros(len(summaries), width, turns, dtype=torch.float64, device=device)
    for part in parts:
        ratio = part.old_logprobs - ratio_base(objective.preset, part.old_logprobs, part.engine_logprobs)
        bounded = ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        of_tokens = kl_of_tokens(objective.kl.estimator, part.old_logprobs, part.reference_logprobs, bounded, part.mask)
        costs = in_turns(of_tokens, part.turns)
        place = [torch.tensor([[getattr(row, name)] for row in part.rows], device=device) for name in ("group", "member", "first_turn")]
        # A column beyond a row's own turns has no cost to add, so any column may take it.
        column = (place[2] * by_turn + torch.arange(costs.shape[1], device=device)).clamp(max=turns - 1)
        found.index_put_((place[0].expand_as(costs), place[1].expand_as(costs), column), costs, accumulate=True)
    return found


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
